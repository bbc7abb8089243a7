// A disk that can fail: this program's own fdatasync() and ftruncate(), and a limit on file sizes.

#pragma once

#include <sys/resource.h>

#include <atomic>
#include <cstdint>

namespace modeld::state {

struct Disk {
  std::atomic<int> syncs{0};            // calls of fdatasync()
  std::atomic<int> sync_errors{0};      // the next ones fail with EIO
  std::atomic<int> truncate_errors{0};  // the next ones fail with EIO
  std::atomic<bool> hangs{false};       // fdatasync() does not return; Release() ends that

  void Release();
};
Disk& TheDisk();

// As long as it lives no file of this process grows beyond `size_bytes`: as on a full disk, writes
// end part-way and then fail (with EFBIG, "File too large").
class FullDisk {
 public:
  explicit FullDisk(uint64_t size_bytes);
  ~FullDisk();
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_;
};

}  // namespace modeld::state
