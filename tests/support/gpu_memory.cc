// What CUDA says of each GPU's memory, one line each: UUID FREE_BYTES TOTAL_BYTES. Makes a context
// on every GPU that it sees, so what is free is less by those.

#include <cuda_runtime_api.h>

#include <cstdio>

#include "wire/gpu_uuid.h"

int main() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return 1;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties;
    size_t free = 0;
    size_t total = 0;
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess ||
        cudaSetDevice(ordinal) != cudaSuccess || cudaMemGetInfo(&free, &total) != cudaSuccess) {
      return 1;
    }
    std::printf("%s %zu %zu\n", modeld::wire::GpuUuidText(properties.uuid.bytes).c_str(), free,
                total);
  }
  return 0;
}
