// The devices' primary contexts in this process: whether there is one, and what broke it.

#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/mutex.h"
#include "wire/unique_fd.h"

namespace fake_cudart {

// Thread-safe. Devices are named by ordinal; the caller has checked them.
//
//   none -- Ensure --> active -- Poison, or a `sticky` fault --> broken
//     ^------------------- Destroy (cudaDeviceReset) ---------------'
class Contexts {
 public:
  static Contexts& Get();

  // Makes it if there is none, which takes FAKE_CUDA_CONTEXT bytes of the device and is logged.
  cudaError_t Ensure(int device);
  bool Active(int device);
  // What broke the active context, and with that all further calls on it; else cudaSuccess.
  cudaError_t ErrorOf(int device);
  void Poison(int device, cudaError_t error);
  void Destroy(int device);

  void SetFlags(int device, unsigned int flags);
  unsigned int flags(int device);

  // Peer access from `device` to `peer`: false when it is there, or is not there, already.
  bool EnablePeer(int device, int peer);
  bool DisablePeer(int device, int peer);

  // As the driver shows it.
  CUcontext Handle(int device);

 private:
  struct Context {
    bool active = false;
    cudaError_t error = cudaSuccess;
    uint64_t faults_applied = 0;  // the version of the faults that broke it
    unsigned int flags = 0;
    uint64_t peers = 0;  // a bit each
    modeld::wire::UniqueFd memory;
  };

  Mutex mutex_;
  std::array<Context, 64> contexts_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace fake_cudart
