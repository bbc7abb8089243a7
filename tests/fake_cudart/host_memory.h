// Pinned host memory: allocated by CUDA, or the program's own and registered. Bookkeeping only:
// nothing is locked in memory.

#pragma once

#include <cstddef>

#include "fake_cudart/cuda_api.h"

namespace fake_cudart {

// All thread-safe. `device` is whose context owns it: cudaDeviceReset frees and forgets it.
cudaError_t AllocateHost(size_t size_bytes, int device, void*& pointer);
// After all work of its device. cudaErrorInvalidValue for what AllocateHost did not return.
cudaError_t FreeHost(void* pointer);

// The memory must be there, and writable unless `flags` has cudaHostRegisterReadOnly:
// cudaErrorInvalidValue. Overlapping: cudaErrorHostMemoryAlreadyRegistered.
cudaError_t RegisterHost(void* pointer, size_t size_bytes, unsigned int flags, int device);
// After all work of its device. cudaErrorHostMemoryNotRegistered for another address.
cudaError_t UnregisterHost(void* pointer);

void ForgetHost(int device);

}  // namespace fake_cudart
