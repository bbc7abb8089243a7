#include "disk.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace modeld::state {
namespace {

// Takes one of what is left.
bool Take(std::atomic<int>& left) {
  if (left.load() == 0) return false;
  --left;
  return true;
}

int Fail() {
  errno = EIO;
  return -1;
}

}  // namespace

Disk& TheDisk() {
  static auto* const disk = new Disk;
  return *disk;
}

void Disk::Release() {
  hangs = false;
  hangs.notify_all();
}

FullDisk::FullDisk(uint64_t size_bytes) {
  ::signal(SIGXFSZ, SIG_IGN);
  ::getrlimit(RLIMIT_FSIZE, &before_);
  const rlimit limit = {size_bytes, before_.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

FullDisk::~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

}  // namespace modeld::state

extern "C" int fdatasync(int fd) {
  modeld::state::Disk& disk = modeld::state::TheDisk();
  ++disk.syncs;
  disk.hangs.wait(true);
  if (modeld::state::Take(disk.sync_errors)) return modeld::state::Fail();
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

extern "C" int ftruncate(int fd, off_t length) noexcept {
  if (modeld::state::Take(modeld::state::TheDisk().truncate_errors)) return modeld::state::Fail();
  return static_cast<int>(::syscall(SYS_ftruncate, fd, length));
}
