#include "rpc/connection_table.h"

#include <sys/stat.h>

#include <chrono>

namespace modeld::rpc {
namespace {

// So that a peer that keeps knocking at a full house does not keep the house counting.
constexpr std::chrono::milliseconds kLookInterval{20};

}  // namespace

bool ConnectionTable::Add(int fd) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return false;
  // The number is ours now: whatever had it before is closed.
  inodes_.erase(fd);
  if (inodes_.size() >= limit_ && clock_.Now() >= next_look_) ForgetClosed();
  if (inodes_.size() >= limit_) return false;
  inodes_.emplace(fd, info.st_ino);
  return true;
}

void ConnectionTable::ForgetClosed() {
  std::erase_if(inodes_, [](const auto& entry) {
    struct stat info;
    return ::fstat(entry.first, &info) != 0 || !S_ISSOCK(info.st_mode) ||
           info.st_ino != entry.second;
  });
  next_look_ = clock_.Now() + kLookInterval;
}

}  // namespace modeld::rpc
