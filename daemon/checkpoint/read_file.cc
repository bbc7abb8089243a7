#include "checkpoint/read_file.h"

#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "wire/error.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {

absl::Status ReadFully(const InputFile& file, uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = pread(file.fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      const std::string path = wire::ToUtf8(file.path);
      wire::ErrorMetadata metadata = {{"file", path}, {"byte", absl::StrCat(offset)}};
      if (got < 0) {
        return wire::MakeError(wire::Reason::kReadFailed,
                               absl::StrCat(path, ": byte ", offset, ": ", wire::ErrnoText(errno)),
                               std::move(metadata), "check the disk or the file server");
      }
      return wire::MakeError(wire::Reason::kCheckpointChanged,
                             absl::StrCat(path, " became shorter while it was read: it was ",
                                          file.size_bytes, " bytes long and now ends at ", offset),
                             std::move(metadata), "load it again when its writer has finished");
    }
    offset += static_cast<uint64_t>(got);
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

}  // namespace modeld::checkpoint
