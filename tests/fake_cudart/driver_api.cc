// The driver's functions that are not about memory; those are in api_vmm.cc.

#include "fake_cudart/driver_api.h"

#include <string.h>

#include "fake_cudart/api_calls.h"
#include "fake_cudart/contexts.h"
#include "fake_cudart/device_attributes.h"
#include "fake_cudart/devices.h"
#include "fake_cudart/errors.h"
#include "fake_cudart/thread_state.h"

namespace fake_cudart {
namespace {

bool HasCurrentContext() {
  return ThisThread().has_context && Contexts::Get().Active(CurrentDevice());
}

}  // namespace

CUresult CuInit(unsigned int flags) {
  return DriverCall("cuInit", [&] { return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; });
}

CUresult CuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = GetConfig().driver_version;
  return CUDA_SUCCESS;
}

CUresult CuGetErrorName(CUresult error, const char** name) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorInfo* info = FindError(error);
  *name = info == nullptr ? nullptr : info->driver_name;
  return *name == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult CuGetErrorString(CUresult error, const char** message) {
  if (message == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorInfo* info = FindError(error);
  *message = info == nullptr || info->driver_name == nullptr ? nullptr : info->message;
  return *message == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult CuDeviceGet(CUdevice* device, int ordinal) {
  return DriverCall("cuDeviceGet", [&] {
    const auto error = static_cast<CUresult>(CheckDevice(ordinal));
    if (error != CUDA_SUCCESS) return error;
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult CuDeviceGetCount(int* count) {
  return DriverCall("cuDeviceGetCount", [&] {
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<int>(VisibleDevices().size());
    return CUDA_SUCCESS;
  });
}

CUresult CuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  return DriverCall("cuDeviceGetUuid", [&] {
    const auto error = static_cast<CUresult>(CheckDevice(device));
    if (error != CUDA_SUCCESS) return error;
    if (uuid == nullptr) return CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid, GetDevice(device).spec.uuid.data(), sizeof *uuid);
    return CUDA_SUCCESS;
  });
}

CUresult CuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return DriverCall("cuDeviceGetAttribute", [&] {
    const auto error = static_cast<CUresult>(CheckDevice(device));
    if (error != CUDA_SUCCESS) return error;
    const auto found = DeviceAttribute(GetDevice(device), attribute);
    if (value == nullptr || !found) return CUDA_ERROR_INVALID_VALUE;
    *value = *found;
    return CUDA_SUCCESS;
  });
}

CUresult CuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
  return DriverCall("cuDevicePrimaryCtxGetState", [&] {
    const auto error = static_cast<CUresult>(CheckDevice(device));
    if (error != CUDA_SUCCESS) return error;
    if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *flags = Contexts::Get().flags(device);
    *active = Contexts::Get().Active(device) ? 1 : 0;
    return CUDA_SUCCESS;
  });
}

CUresult CuCtxGetCurrent(CUcontext* context) {
  return DriverCall("cuCtxGetCurrent", [&] {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *context = HasCurrentContext() ? Contexts::Get().Handle(CurrentDevice()) : nullptr;
    return CUDA_SUCCESS;
  });
}

CUresult CuCtxGetDevice(CUdevice* device) { return CuCtxGetDeviceOf(device, nullptr); }

CUresult CuCtxGetDeviceOf(CUdevice* device, CUcontext context) {
  return DriverCall("cuCtxGetDevice", [&] {
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (context == nullptr) {
      *device = CurrentDevice();
      return HasCurrentContext() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    }
    for (const Device& candidate : VisibleDevices()) {
      if (Contexts::Get().Handle(candidate.ordinal) != context) continue;
      *device = candidate.ordinal;
      return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_CONTEXT;
  });
}

}  // namespace fake_cudart
