#include <stdio.h>
#include <string.h>

#include <string>

#include "fake_cudart/accounting.h"
#include "fake_cudart/address_space.h"
#include "fake_cudart/api_calls.h"
#include "fake_cudart/contexts.h"
#include "fake_cudart/device_attributes.h"
#include "fake_cudart/device_memory.h"
#include "fake_cudart/devices.h"
#include "fake_cudart/events.h"
#include "fake_cudart/host_memory.h"
#include "fake_cudart/ipc.h"
#include "fake_cudart/streams.h"
#include "fake_cudart/thread_state.h"

using fake_cudart::CheckDevice;
using fake_cudart::Contexts;
using fake_cudart::CurrentDevice;
using fake_cudart::Device;
using fake_cudart::GetConfig;
using fake_cudart::GetDevice;
using fake_cudart::Needs;
using fake_cudart::RuntimeCall;
using fake_cudart::ThisThread;

namespace {

cudaError_t ResetCurrent() {
  const int device = CurrentDevice();
  fake_cudart::Streams::Get().DestroyAll(device);
  fake_cudart::Ipc::Get().Forget(device);
  fake_cudart::DeviceMemory::Get().Forget(device);
  fake_cudart::ForgetHost(device);
  fake_cudart::Events::Get().Forget(device);
  fake_cudart::AddressSpace::Get().RevokeAccess(device);
  Contexts::Get().Destroy(device);
  ThisThread().has_context = false;
  return cudaSuccess;
}

cudaError_t CheckPeer(int peer) {
  const cudaError_t error = CheckDevice(peer);
  if (error != cudaSuccess) return error;
  if (peer == CurrentDevice()) return cudaErrorInvalidDevice;
  return GetConfig().peer ? cudaSuccess : cudaErrorPeerAccessUnsupported;
}

}  // namespace

cudaError_t cudaDriverGetVersion(int* version) {
  if (version == nullptr) return fake_cudart::Record(cudaErrorInvalidValue);
  *version = GetConfig().driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (version == nullptr) return fake_cudart::Record(cudaErrorInvalidValue);
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  if (count == nullptr) return fake_cudart::Record(cudaErrorInvalidValue);
  *count = 0;
  return RuntimeCall("cudaGetDeviceCount", Needs::kDevices, [&] {
    *count = static_cast<int>(fake_cudart::VisibleDevices().size());
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return RuntimeCall("cudaGetDevice", Needs::kDevices, [&] {
    if (device == nullptr) return cudaErrorInvalidValue;
    *device = CurrentDevice();
    return cudaSuccess;
  });
}

// Since CUDA 12 this makes the device's context.
cudaError_t cudaSetDevice(int device) {
  return RuntimeCall("cudaSetDevice", Needs::kDevices, [&] {
    cudaError_t error = CheckDevice(device);
    if (error != cudaSuccess) return error;
    ThisThread().device = device;
    ThisThread().has_context = false;
    error = fake_cudart::EnterContext(device);
    ThisThread().has_context = error == cudaSuccess;
    return error;
  });
}

cudaError_t cudaInitDevice(int device, unsigned int device_flags, unsigned int flags) {
  return RuntimeCall("cudaInitDevice", Needs::kDevices, [&] {
    if ((device_flags & ~static_cast<unsigned int>(cudaDeviceMask)) != 0 ||
        (flags & ~static_cast<unsigned int>(cudaInitDeviceFlagsAreValid)) != 0) {
      return cudaErrorInvalidValue;
    }
    const cudaError_t error = CheckDevice(device);
    if (error != cudaSuccess) return error;
    if ((flags & cudaInitDeviceFlagsAreValid) != 0) Contexts::Get().SetFlags(device, device_flags);
    return fake_cudart::EnterContext(device);
  });
}

cudaError_t cudaSetDeviceFlags(unsigned int flags) {
  return RuntimeCall("cudaSetDeviceFlags", Needs::kDevice, [&] {
    if ((flags & ~static_cast<unsigned int>(cudaDeviceMask)) != 0) return cudaErrorInvalidValue;
    Contexts::Get().SetFlags(CurrentDevice(), flags);
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceFlags(unsigned int* flags) {
  return RuntimeCall("cudaGetDeviceFlags", Needs::kDevice, [&] {
    if (flags == nullptr) return cudaErrorInvalidValue;
    *flags = Contexts::Get().flags(CurrentDevice()) | cudaDeviceMapHost;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return RuntimeCall("cudaDeviceSynchronize", Needs::kContext, [] {
    fake_cudart::Streams::Get().Wait(CurrentDevice());
    return fake_cudart::ContextError();
  });
}

cudaError_t cudaDeviceReset() {
  return RuntimeCall("cudaDeviceReset", Needs::kDevice, ResetCurrent);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return RuntimeCall("cudaGetDeviceProperties", Needs::kDevices, [&] {
    const cudaError_t error = CheckDevice(device);
    if (error != cudaSuccess) return error;
    if (properties == nullptr) return cudaErrorInvalidValue;
    fake_cudart::FillProperties(GetDevice(device), *properties);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return RuntimeCall("cudaDeviceGetAttribute", Needs::kDevices, [&] {
    const cudaError_t error = CheckDevice(device);
    if (error != cudaSuccess) return error;
    const auto found = fake_cudart::DeviceAttribute(GetDevice(device), attribute);
    if (value == nullptr || !found) return cudaErrorInvalidValue;
    *value = *found;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* bus_id, int length, int device) {
  return RuntimeCall("cudaDeviceGetPCIBusId", Needs::kDevices, [&] {
    const cudaError_t error = CheckDevice(device);
    if (error != cudaSuccess) return error;
    const std::string text = fake_cudart::PciBusId(GetDevice(device));
    if (bus_id == nullptr || length <= static_cast<int>(text.size())) return cudaErrorInvalidValue;
    memcpy(bus_id, text.c_str(), text.size() + 1);
    return cudaSuccess;
  });
}

// Any of domain:bus:device.function, domain:bus:device and bus:device.function.
cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* bus_id) {
  return RuntimeCall("cudaDeviceGetByPCIBusId", Needs::kDevices, [&] {
    if (device == nullptr || bus_id == nullptr) return cudaErrorInvalidValue;
    unsigned int domain = 0;
    unsigned int bus = 0;
    unsigned int slot = 0;
    if (sscanf(bus_id, "%x:%x:%x", &domain, &bus, &slot) != 3) {
      domain = 0;
      if (sscanf(bus_id, "%x:%x", &bus, &slot) != 2) return cudaErrorInvalidValue;
    }
    for (const Device& candidate : fake_cudart::VisibleDevices()) {
      if (domain == 0 && slot == 0 && static_cast<int>(bus) == fake_cudart::PciBus(candidate)) {
        *device = candidate.ordinal;
        return cudaSuccess;
      }
    }
    return cudaErrorInvalidDevice;
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return RuntimeCall("cudaMemGetInfo", Needs::kContext, [&] {
    if (free == nullptr || total == nullptr) return cudaErrorInvalidValue;
    const Device& device = GetDevice(CurrentDevice());
    const uint64_t used = fake_cudart::BytesInUse(device.name());
    *total = device.spec.memory_bytes;
    *free = used < *total ? *total - used : 0;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceCanAccessPeer(int* can_access, int device, int peer) {
  return RuntimeCall("cudaDeviceCanAccessPeer", Needs::kDevices, [&] {
    cudaError_t error = CheckDevice(device);
    if (error == cudaSuccess) error = CheckDevice(peer);
    if (error != cudaSuccess) return error;
    if (can_access == nullptr) return cudaErrorInvalidValue;
    *can_access = GetConfig().peer && device != peer ? 1 : 0;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int flags) {
  return RuntimeCall("cudaDeviceEnablePeerAccess", Needs::kContext, [&] {
    if (flags != 0) return cudaErrorInvalidValue;
    cudaError_t error = CheckPeer(peer);
    if (error == cudaSuccess) error = fake_cudart::EnterContext(peer);
    if (error != cudaSuccess) return error;
    return Contexts::Get().EnablePeer(CurrentDevice(), peer) ? cudaSuccess
                                                             : cudaErrorPeerAccessAlreadyEnabled;
  });
}

cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  return RuntimeCall("cudaDeviceDisablePeerAccess", Needs::kContext, [&] {
    const cudaError_t error = CheckDevice(peer);
    if (error != cudaSuccess) return error;
    return Contexts::Get().DisablePeer(CurrentDevice(), peer) ? cudaSuccess
                                                              : cudaErrorPeerAccessNotEnabled;
  });
}
