// What CUDA keeps per thread.

#pragma once

#include "fake_cudart/cuda_api.h"

namespace fake_cudart {

// Trivially destructible: calls from a thread's own exit handlers stay safe.
struct ThreadState {
  int device = 0;                  // cudaSetDevice
  bool has_context = false;        // the device's primary context was made current here
  bool in_host_function = false;   // of cudaLaunchHostFunc, where CUDA may not be called
  cudaError_t last = cudaSuccess;  // cudaGetLastError
};

ThreadState& ThisThread();

}  // namespace fake_cudart
