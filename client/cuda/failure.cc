#include "cuda/failure.h"

#include <algorithm>
#include <cstring>

namespace modeld::gpu {
namespace {

// The context, or the device, is beyond use: CUDA gives the same error to every later call.
bool IsLasting(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

const char* Hint(cudaError_t error) {
  switch (error) {
    case cudaErrorInsufficientDriver:
    case cudaErrorStubLibrary:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
      return "install a driver of this CUDA's release or a newer one (nvidia-smi shows it), or use "
             "the "
             "device host";
    case cudaErrorNoDevice:
      return "look at nvidia-smi, CUDA_VISIBLE_DEVICES and the permissions of /dev/nvidia*, or use "
             "the device host";
    case cudaErrorInitializationError:
      return "CUDA does not survive a fork: start workers with spawn, forkserver or exec; "
             "otherwise see nvidia-smi";
    case cudaErrorMapBufferObjectFailed:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorDeviceUninitialized:
    case cudaErrorInvalidValue:
      return "the memory may be gone: acquire it again; `modelctl devices` says how this GPU's "
             "memory leaves its agent";
    case cudaErrorNotSupported:
    case cudaErrorNotPermitted:
    case cudaErrorOperatingSystem:
      return "`modelctl devices` says how this GPU's memory leaves its agent; try the other way "
             "with export = \"ipc\" or \"vmm\" in modeld's configuration";
    case cudaErrorInvalidDevice:
      return "memory of a GPU is mapped where that GPU is visible: look at CUDA_VISIBLE_DEVICES";
    default:
      return "see nvidia-smi and `modelctl devices`";
  }
}

template <size_t kSize>
void Put(const std::string& text, char (&out)[kSize]) {
  const size_t size = std::min(text.size(), kSize - 1);
  std::memcpy(out, text.data(), size);
  out[size] = '\0';
}

}  // namespace

Failure MakeFailure(const std::string& what, cudaError_t error) {
  const std::string message =
      what + ": " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")";
  if (error == cudaErrorMemoryAllocation) {
    return {"BUDGET_EXCEEDED", message,
            "make room on the GPU: nvidia-smi shows which processes have its memory"};
  }
  if (IsLasting(error)) {
    return {"DEVICE_LOST", message,
            "this process cannot use the GPU any more: start it anew, and see nvidia-smi"};
  }
  return {"DEVICE_UNAVAILABLE", message, Hint(error)};
}

int Tell(const MaybeFailure& outcome, ModeldDeviceFailure* failure) {
  if (!outcome) return 0;
  Put(outcome->reason, failure->reason);
  Put(outcome->message, failure->message);
  Put(outcome->hint, failure->hint);
  return 1;
}

}  // namespace modeld::gpu
