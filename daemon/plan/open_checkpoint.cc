#include "plan/open_checkpoint.h"

#include "absl/strings/str_cat.h"

namespace modeld::plan {

FileIdentity IdentityOf(const struct stat& status) {
  const auto nanos = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .size_bytes = static_cast<uint64_t>(status.st_size),
          .mtime_ns = nanos(status.st_mtim),
          .ctime_ns = nanos(status.st_ctim)};
}

// The order of the files is part of it: it is the order of the regions. Each path comes with its
// length, so that no path can imitate the text that follows it.
std::string OpenCheckpoint::Key() const {
  std::string key;
  for (const OpenFile& file : files) {
    const FileIdentity& id = file.identity;
    absl::StrAppend(&key, file.path.size(), ":", file.path, ":", id.device, ":", id.inode);
    absl::StrAppend(&key, ":", id.size_bytes, ":", id.mtime_ns, ":", id.ctime_ns, "\n");
  }
  for (const std::string& name : components) {
    absl::StrAppend(&key, "component:", name.size(), ":", name, "\n");
  }
  absl::StrAppend(&key, config.Key());
  return key;
}

}  // namespace modeld::plan
