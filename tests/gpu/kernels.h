// Two kernels, as PTX that the driver compiles: no nvcc is needed to build or to run them.

#pragma once

#include <cstdint>
#include <string>

namespace modeld::gpu_test {

// Their text.
const char* Ptx();

// False where CUDA runs no kernels (tests/fake_cudart).
bool HasKernels();

// Adds up `words` of 32 bits that lie at a device address. An error's text, or empty. Waits.
std::string Sum(const void* device_address, uint32_t words, uint32_t* sum);

// Stores to a device address, and waits. An error's text, or empty.
std::string Store(void* device_address);

}  // namespace modeld::gpu_test
