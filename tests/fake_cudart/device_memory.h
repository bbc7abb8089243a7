// cudaMalloc: memory of one device, which may be shared by legacy IPC.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/mutex.h"
#include "wire/unique_fd.h"

namespace fake_cudart {

// Thread-safe.
class DeviceMemory {
 public:
  // What another process needs to find an allocation. The descriptor stays open until it is freed.
  struct Export {
    int fd = -1;
    ino_t inode = 0;
    uint64_t size_bytes = 0;
    int device = 0;
  };

  static DeviceMemory& Get();

  // cudaErrorMemoryAllocation when the device is full.
  cudaError_t Allocate(int device, size_t size_bytes, void*& pointer);
  // After all work of its device. cudaErrorInvalidValue for what Allocate did not return.
  cudaError_t Free(void* pointer);
  // Nothing unless an allocation begins here.
  std::optional<Export> FindAllocation(const void* pointer);
  // cudaDeviceReset: unmaps all of the device's.
  void Forget(int device);

 private:
  struct Allocation {
    modeld::wire::UniqueFd memfd;
    ino_t inode = 0;
    uint64_t size_bytes = 0;
    int device = 0;
  };

  Mutex mutex_;
  std::map<uintptr_t, Allocation> allocations_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace fake_cudart
