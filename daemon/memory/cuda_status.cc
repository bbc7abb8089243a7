#include "memory/cuda_status.h"

#include "absl/strings/str_cat.h"
#include "wire/error.h"

namespace modeld::memory {
namespace {

// Errors after which nothing works in this context any more (CUDA Runtime API, "Data types used by
// CUDA Runtime", those that "leave the process in an inconsistent state"), and those of a device
// that is not there.
bool MeansLost(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorContextIsDestroyed:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

absl::Status Failed(cudaError_t error, const std::string& what) {
  const std::string message =
      absl::StrCat(what, ": ", cudaGetErrorName(error), " (", static_cast<int>(error), "), ",
                   cudaGetErrorString(error));
  if (error == cudaErrorMemoryAllocation) {
    return wire::MakeError(
        wire::Reason::kBudgetExceeded, message, {},
        "other programs use this GPU's memory: see nvidia-smi, or lower gpu_capacity");
  }
  if (MeansLost(error)) {
    return wire::MakeError(
        wire::Reason::kDeviceLost, message, {},
        "modeld starts a new agent for the GPU; see modelctl devices, and dmesg");
  }
  return wire::MakeError(wire::Reason::kDeviceUnavailable, message, {},
                         "see modelctl devices, and nvidia-smi");
}

}  // namespace

absl::Status CudaStatus(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return absl::OkStatus();
  // What is not sticky would be reported by the next call that only looks.
  (void)cudaGetLastError();
  return Failed(error, what);
}

// The runtime's error numbers are the driver's.
absl::Status CudaStatus(CUresult result, const std::string& what) {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  return Failed(static_cast<cudaError_t>(result), what);
}

}  // namespace modeld::memory
