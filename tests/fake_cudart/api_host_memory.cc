#include "fake_cudart/api_calls.h"
#include "fake_cudart/host_memory.h"

using fake_cudart::CurrentDevice;
using fake_cudart::Needs;
using fake_cudart::RuntimeCall;

namespace {

cudaError_t Allocate(const char* function, void** pointer, size_t size_bytes, unsigned int flags) {
  return RuntimeCall(function, Needs::kContext, [&] {
    constexpr unsigned int kKnown =
        cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
    if (pointer == nullptr || (flags & ~kKnown) != 0) return cudaErrorInvalidValue;
    *pointer = nullptr;
    if (size_bytes == 0) return cudaSuccess;
    return fake_cudart::AllocateHost(size_bytes, CurrentDevice(), *pointer);
  });
}

}  // namespace

cudaError_t cudaHostAlloc(void** pointer, size_t size_bytes, unsigned int flags) {
  return Allocate("cudaHostAlloc", pointer, size_bytes, flags);
}

cudaError_t cudaMallocHost(void** pointer, size_t size_bytes) {
  return Allocate("cudaMallocHost", pointer, size_bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* pointer) {
  return RuntimeCall("cudaFreeHost", Needs::kContext, [&] {
    return pointer == nullptr ? cudaSuccess : fake_cudart::FreeHost(pointer);
  });
}

cudaError_t cudaHostRegister(void* pointer, size_t size_bytes, unsigned int flags) {
  return RuntimeCall("cudaHostRegister", Needs::kContext, [&] {
    constexpr unsigned int kKnown = cudaHostRegisterPortable | cudaHostRegisterMapped |
                                    cudaHostRegisterIoMemory | cudaHostRegisterReadOnly;
    if (pointer == nullptr || size_bytes == 0 || (flags & ~kKnown) != 0) {
      return cudaErrorInvalidValue;
    }
    return fake_cudart::RegisterHost(pointer, size_bytes, flags, CurrentDevice());
  });
}

cudaError_t cudaHostUnregister(void* pointer) {
  return RuntimeCall("cudaHostUnregister", Needs::kContext, [&] {
    return pointer == nullptr ? cudaErrorInvalidValue : fake_cudart::UnregisterHost(pointer);
  });
}
