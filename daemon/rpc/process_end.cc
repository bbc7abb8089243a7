#include "rpc/process_end.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "wire/unique_fd.h"

namespace modeld::rpc {
namespace {

// PF_EXITING of the kernel's include/linux/sched.h, shown in the flags of proc(5)'s stat.
constexpr unsigned long kExiting = 0x4;

}  // namespace

bool IsEnding(pid_t pid) {
  if (pid <= 0) return false;
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const wire::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno == ENOENT;
  char text[512] = {};
  if (::read(fd.get(), text, sizeof(text) - 1) <= 0) return errno == ESRCH;
  // pid (name) state ppid pgrp session tty tpgid flags: a name may hold anything.
  const char* field = std::strrchr(text, ')');
  if (field == nullptr || field[1] == '\0') return false;
  const char state = field[2];
  if (state == 'Z' || state == 'X') return true;
  for (int i = 0; i < 7 && field != nullptr; ++i) field = std::strchr(field + 1, ' ');
  return field != nullptr && (std::strtoul(field, nullptr, 10) & kExiting) != 0;
}

}  // namespace modeld::rpc
