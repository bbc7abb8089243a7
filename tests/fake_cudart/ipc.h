// Legacy IPC: a 64-byte handle names an allocation of cudaMalloc in another process.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <tuple>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/mutex.h"

namespace fake_cudart {

// The importing side, and the export. Thread-safe.
class Ipc {
 public:
  static Ipc& Get();

  // cudaErrorInvalidValue unless an allocation of cudaMalloc begins here.
  cudaError_t Export(const void* pointer, cudaIpcMemHandle_t& handle);

  // Maps it, writable, or counts one more for what this process has open already.
  // - cudaErrorDeviceUninitialized ("invalid device context") in the exporter itself.
  // - cudaErrorInvalidResourceHandle when the exporter is dead or has freed it: the documented
  //   error for a handle that names nothing. The documentation calls a free before the importers'
  //   close undefined; here the mappings that exist stay.
  // - cudaErrorPeerAccessUnsupported when the memory is on another device than `device`, unless
  //   FAKE_CUDA_PEER=1.
  // - cudaErrorInvalidValue for bytes that are no handle.
  cudaError_t Open(const cudaIpcMemHandle_t& handle, int device, void*& pointer);

  // Takes one off the count; unmaps, after all work of the device, at zero. cudaErrorInvalidValue
  // for what is not open.
  cudaError_t Close(void* pointer);

  // cudaDeviceReset: unmaps all that was opened in the device's context.
  void Forget(int device);

 private:
  using Key = std::tuple<pid_t, uint64_t, ino_t>;  // the exporter, its start, the memory
  struct Opened {
    uintptr_t base = 0;
    uint64_t count = 0;
    int device = 0;
  };

  Mutex mutex_;
  std::map<Key, Opened> opened_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace fake_cudart
