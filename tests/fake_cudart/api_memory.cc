#include "fake_cudart/address_space.h"
#include "fake_cudart/api_calls.h"
#include "fake_cudart/device_memory.h"

using fake_cudart::CurrentDevice;
using fake_cudart::DeviceMemory;
using fake_cudart::Needs;
using fake_cudart::RuntimeCall;

cudaError_t cudaMalloc(void** pointer, size_t size_bytes) {
  return RuntimeCall("cudaMalloc", Needs::kContext, [&] {
    if (pointer == nullptr) return cudaErrorInvalidValue;
    *pointer = nullptr;
    if (size_bytes == 0) return cudaSuccess;
    return DeviceMemory::Get().Allocate(CurrentDevice(), size_bytes, *pointer);
  });
}

cudaError_t cudaFree(void* pointer) {
  return RuntimeCall("cudaFree", Needs::kContext, [&] {
    return pointer == nullptr ? cudaSuccess : DeviceMemory::Get().Free(pointer);
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return RuntimeCall("cudaPointerGetAttributes", Needs::kContext, [&] {
    if (attributes == nullptr) return cudaErrorInvalidValue;
    *attributes = {};
    const auto range = fake_cudart::AddressSpace::Get().Find(pointer);
    if (!range) {
      attributes->type = cudaMemoryTypeUnregistered;
      attributes->device = cudaInvalidDeviceId;
      return cudaSuccess;
    }
    attributes->type = range->on_device() ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    attributes->device = range->device;
    attributes->devicePointer = const_cast<void*>(pointer);
    attributes->hostPointer = range->on_device() ? nullptr : const_cast<void*>(pointer);
    return cudaSuccess;
  });
}
