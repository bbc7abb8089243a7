#include "footprint.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace modeld::tools {
namespace {

constexpr std::string_view kMemfdPrefix = "/memfd:";
constexpr std::uint64_t kBlockBytes = 512;  // the unit of st_blocks, whatever the file system

using Key = std::pair<std::uint64_t, std::uint64_t>;  // device, inode

absl::Status ErrnoStatus(int error, const std::string& path, pid_t pid) {
  if (error == ENOENT || error == ESRCH) {
    return absl::NotFoundError(absl::StrCat("there is no process ", pid));
  }
  if (error == EACCES || error == EPERM) {
    return absl::PermissionDeniedError(
        absl::StrCat("process ", pid, " is another user's: run this as that user or as root"));
  }
  return absl::ErrnoToStatus(error, path);
}

absl::StatusOr<std::string> ReadFile(const std::string& path, pid_t pid) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                       &std::fclose);
  if (!file) {
    return ErrnoStatus(errno, path, pid);
  }
  std::string text;
  std::array<char, 4096> buffer;
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    text.append(buffer.data(), n);
  }
  if (std::ferror(file.get()) != 0) {
    return ErrnoStatus(errno, path, pid);
  }
  return text;
}

// `/memfd:weights (deleted)` -> `weights`; empty when it is no memfd.
std::string MemfdName(std::string_view target) {
  constexpr std::string_view kSuffix = " (deleted)";
  if (!target.starts_with(kMemfdPrefix)) {
    return {};
  }
  target.remove_prefix(kMemfdPrefix.size());
  if (target.ends_with(kSuffix)) {
    target.remove_suffix(kSuffix.size());
  }
  return std::string(target);
}

std::string LinkTarget(const std::string& path) {
  std::array<char, 512> target;
  const ssize_t n = readlink(path.c_str(), target.data(), target.size());
  return n < 0 ? std::string() : std::string(target.data(), static_cast<size_t>(n));
}

class Memfds {
 public:
  // Takes the memfd that `link` in /proc leads to, if it may be followed.
  void AddLink(const std::string& link, const std::string& name) {
    struct stat info;
    if (stat(link.c_str(), &info) == 0) {
      memfds_[{info.st_dev, info.st_ino}] = {
          .device = info.st_dev,
          .inode = info.st_ino,
          .name = name,
          .bytes = static_cast<std::uint64_t>(info.st_blocks) * kBlockBytes,
          .estimated = false};
    }
  }

  void AddMapping(std::uint64_t device, std::uint64_t inode, const std::string& name,
                  std::uint64_t length) {
    Memfd& memfd = memfds_[{device, inode}];
    if (memfd.name.empty()) {
      memfd = {.device = device, .inode = inode, .name = name, .bytes = 0, .estimated = true};
    }
    if (memfd.estimated) {
      memfd.bytes = std::max(memfd.bytes, length);
    }
  }

  std::vector<Memfd> Take() {
    std::vector<Memfd> all;
    for (auto& [key, memfd] : memfds_) {
      all.push_back(std::move(memfd));
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Memfd& a, const Memfd& b) { return a.bytes > b.bytes; });
    return all;
  }

 private:
  std::map<Key, Memfd> memfds_;
};

absl::StatusOr<ProcessMemory> ReadProcess(const std::string& directory, pid_t pid) {
  ProcessMemory process{.pid = pid};
  absl::StatusOr<std::string> comm = ReadFile(directory + "/comm", pid);
  if (!comm.ok()) {
    return comm.status();
  }
  process.program = comm->substr(0, comm->find('\n'));
  const absl::StatusOr<std::string> rollup = ReadFile(directory + "/smaps_rollup", pid);
  if (!rollup.ok()) {
    return rollup.status();
  }
  std::istringstream lines(*rollup);
  for (std::string line; std::getline(lines, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "Pss: %llu kB", &kib) == 1) {
      process.pss_bytes = kib * 1024;
    } else if (std::sscanf(line.c_str(), "Pss_Shmem: %llu kB", &kib) == 1) {
      process.pss_shmem_bytes = kib * 1024;
    }
  }
  return process;
}

void CollectOpen(const std::string& directory, Memfds& memfds) {
  const std::unique_ptr<DIR, int (*)(DIR*)> fds(opendir((directory + "/fd").c_str()), &closedir);
  if (!fds) {
    return;
  }
  while (const dirent* entry = readdir(fds.get())) {
    const std::string link = directory + "/fd/" + entry->d_name;
    if (const std::string name = MemfdName(LinkTarget(link)); !name.empty()) {
      memfds.AddLink(link, name);
    }
  }
}

absl::Status CollectMapped(const std::string& directory, pid_t pid, Memfds& memfds) {
  const absl::StatusOr<std::string> maps = ReadFile(directory + "/maps", pid);
  if (!maps.ok()) {
    return maps.status();
  }
  std::istringstream lines(*maps);
  for (std::string line; std::getline(lines, line);) {
    unsigned long long begin = 0, end = 0, inode = 0;
    unsigned int major = 0, minor = 0;
    int path = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx %*s %*s %x:%x %llu %n", &begin, &end, &major, &minor,
                    &inode, &path) < 5 ||
        path == 0) {
      continue;
    }
    const std::string name = MemfdName(std::string_view(line).substr(static_cast<size_t>(path)));
    if (name.empty()) {
      continue;
    }
    // Who has mapped it may have closed it. Following map_files takes CAP_CHECKPOINT_RESTORE.
    std::array<char, 64> range;
    std::snprintf(range.data(), range.size(), "%llx-%llx", begin, end);
    memfds.AddLink(absl::StrCat(directory, "/map_files/", range.data()), name);
    memfds.AddMapping(makedev(major, minor), inode, name, end - begin);
  }
  return absl::OkStatus();
}

}  // namespace

std::uint64_t Footprint::own_bytes() const {
  std::uint64_t sum = 0;
  for (const ProcessMemory& process : processes) {
    sum += process.own_bytes();
  }
  return sum;
}

std::uint64_t Footprint::memfd_bytes() const {
  std::uint64_t sum = 0;
  for (const Memfd& memfd : memfds) {
    sum += memfd.bytes;
  }
  return sum;
}

absl::StatusOr<Footprint> MeasureFootprint(std::span<const pid_t> pids, const std::string& proc) {
  Footprint footprint;
  Memfds memfds;
  for (const pid_t pid : pids) {
    const std::string directory = absl::StrCat(proc, "/", pid);
    absl::StatusOr<ProcessMemory> process = ReadProcess(directory, pid);
    if (!process.ok()) {
      return process.status();
    }
    footprint.processes.push_back(*std::move(process));
    CollectOpen(directory, memfds);
    if (absl::Status status = CollectMapped(directory, pid, memfds); !status.ok()) {
      return status;
    }
  }
  footprint.memfds = memfds.Take();
  return footprint;
}

}  // namespace modeld::tools
