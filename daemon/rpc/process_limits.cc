#include "rpc/process_limits.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <memory>

namespace modeld::rpc {

uint32_t CountOpenFds() {
  constexpr char kDirectory[] = "/proc/self/fd";
  // Since Linux 6.2 the size of the directory is the count.
  struct stat info;
  if (::stat(kDirectory, &info) == 0 && info.st_size > 0) {
    return static_cast<uint32_t>(info.st_size);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(kDirectory), ::closedir);
  if (!directory) return 0;
  uint32_t count = 0;
  while (::readdir(directory.get()) != nullptr) ++count;
  // Less `.`, `..` and the one that counts.
  return count > 3 ? count - 3 : 0;
}

uint64_t FdLimit() {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

}  // namespace modeld::rpc
