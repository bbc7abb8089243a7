#include "state/aside.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace modeld::state {

std::string AsidePath(const std::string& path, int number) {
  return absl::StrCat(path, ".damaged-", number);
}

int PutAside(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string aside = AsidePath(path, 1);
  if (fs::equivalent(path, aside, error)) return 0;
  for (int number = kMaxKeptAside; number > 1; --number) {
    if (::rename(AsidePath(path, number - 1).c_str(), AsidePath(path, number).c_str()) != 0 &&
        errno != ENOENT) {
      return errno;
    }
  }
  if (::link(path.c_str(), aside.c_str()) == 0) return 0;
  // A file system without hard links.
  fs::copy_file(path, aside, error);
  return error.value();
}

}  // namespace modeld::state
