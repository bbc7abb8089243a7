#include "fake_cudart/errors.h"

#include "fake_cudart/cuda_api.h"

namespace fake_cudart {
namespace {

#define FAKE_CUDART_BOTH(runtime, driver, message) \
  ErrorInfo { runtime, #runtime, #driver, message }
#define FAKE_CUDART_RUNTIME(runtime, message) \
  ErrorInfo { runtime, #runtime, nullptr, message }

// Those that memory, copies, sharing and start-up can meet. The messages are the runtime's.
constexpr ErrorInfo kErrors[] = {
    FAKE_CUDART_BOTH(cudaSuccess, CUDA_SUCCESS, "no error"),
    FAKE_CUDART_BOTH(cudaErrorInvalidValue, CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    FAKE_CUDART_BOTH(cudaErrorMemoryAllocation, CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    FAKE_CUDART_BOTH(cudaErrorInitializationError, CUDA_ERROR_NOT_INITIALIZED,
                     "initialization error"),
    FAKE_CUDART_BOTH(cudaErrorCudartUnloading, CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    FAKE_CUDART_RUNTIME(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    FAKE_CUDART_RUNTIME(cudaErrorInvalidHostPointer, "invalid host pointer"),
    FAKE_CUDART_RUNTIME(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    FAKE_CUDART_RUNTIME(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    FAKE_CUDART_BOTH(cudaErrorStubLibrary, CUDA_ERROR_STUB_LIBRARY,
                     "CUDA driver is a stub library"),
    FAKE_CUDART_RUNTIME(cudaErrorInsufficientDriver,
                        "CUDA driver version is insufficient for CUDA runtime version"),
    FAKE_CUDART_RUNTIME(cudaErrorCallRequiresNewerDriver,
                        "API call is not supported in the installed CUDA driver"),
    FAKE_CUDART_BOTH(cudaErrorDevicesUnavailable, CUDA_ERROR_DEVICE_UNAVAILABLE,
                     "CUDA-capable device(s) is/are busy or unavailable"),
    FAKE_CUDART_RUNTIME(cudaErrorIncompatibleDriverContext, "incompatible driver context"),
    FAKE_CUDART_BOTH(cudaErrorNoDevice, CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    FAKE_CUDART_BOTH(cudaErrorInvalidDevice, CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    FAKE_CUDART_RUNTIME(cudaErrorStartupFailure, "startup failure in cuda runtime"),
    FAKE_CUDART_BOTH(cudaErrorDeviceUninitialized, CUDA_ERROR_INVALID_CONTEXT,
                     "invalid device context"),
    FAKE_CUDART_BOTH(cudaErrorMapBufferObjectFailed, CUDA_ERROR_MAP_FAILED,
                     "mapping of buffer object failed"),
    FAKE_CUDART_BOTH(cudaErrorUnmapBufferObjectFailed, CUDA_ERROR_UNMAP_FAILED,
                     "unmapping of buffer object failed"),
    FAKE_CUDART_BOTH(cudaErrorAlreadyMapped, CUDA_ERROR_ALREADY_MAPPED, "resource already mapped"),
    FAKE_CUDART_BOTH(cudaErrorNotMapped, CUDA_ERROR_NOT_MAPPED, "resource not mapped"),
    FAKE_CUDART_BOTH(cudaErrorECCUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE,
                     "uncorrectable ECC error encountered"),
    FAKE_CUDART_BOTH(cudaErrorDeviceAlreadyInUse, CUDA_ERROR_CONTEXT_ALREADY_IN_USE,
                     "exclusive-thread device already in use by a different thread"),
    FAKE_CUDART_BOTH(cudaErrorPeerAccessUnsupported, CUDA_ERROR_PEER_ACCESS_UNSUPPORTED,
                     "peer access is not supported between these two devices"),
    FAKE_CUDART_BOTH(cudaErrorNvlinkUncorrectable, CUDA_ERROR_NVLINK_UNCORRECTABLE,
                     "uncorrectable NVLink error detected during the execution"),
    FAKE_CUDART_BOTH(cudaErrorOperatingSystem, CUDA_ERROR_OPERATING_SYSTEM,
                     "OS call failed or operation not supported on this OS"),
    FAKE_CUDART_BOTH(cudaErrorInvalidResourceHandle, CUDA_ERROR_INVALID_HANDLE,
                     "invalid resource handle"),
    FAKE_CUDART_BOTH(cudaErrorIllegalState, CUDA_ERROR_ILLEGAL_STATE,
                     "the operation cannot be performed in the present state"),
    FAKE_CUDART_BOTH(cudaErrorSymbolNotFound, CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    FAKE_CUDART_BOTH(cudaErrorNotReady, CUDA_ERROR_NOT_READY, "device not ready"),
    FAKE_CUDART_BOTH(cudaErrorIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS,
                     "an illegal memory access was encountered"),
    FAKE_CUDART_BOTH(cudaErrorLaunchOutOfResources, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                     "too many resources requested for launch"),
    FAKE_CUDART_BOTH(cudaErrorLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT,
                     "the launch timed out and was terminated"),
    FAKE_CUDART_BOTH(cudaErrorPeerAccessAlreadyEnabled, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED,
                     "peer access is already enabled"),
    FAKE_CUDART_BOTH(cudaErrorPeerAccessNotEnabled, CUDA_ERROR_PEER_ACCESS_NOT_ENABLED,
                     "peer access has not been enabled"),
    FAKE_CUDART_BOTH(cudaErrorSetOnActiveProcess, CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE,
                     "cannot set while device is active in this process"),
    FAKE_CUDART_BOTH(cudaErrorContextIsDestroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED,
                     "context is destroyed"),
    FAKE_CUDART_BOTH(cudaErrorAssert, CUDA_ERROR_ASSERT, "device-side assert triggered"),
    FAKE_CUDART_BOTH(cudaErrorTooManyPeers, CUDA_ERROR_TOO_MANY_PEERS,
                     "peer mapping resources exhausted"),
    FAKE_CUDART_BOTH(cudaErrorHostMemoryAlreadyRegistered,
                     CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
                     "part or all of the requested memory range is already mapped"),
    FAKE_CUDART_BOTH(cudaErrorHostMemoryNotRegistered, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
                     "pointer does not correspond to a registered memory region"),
    FAKE_CUDART_BOTH(cudaErrorHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR,
                     "hardware stack error"),
    FAKE_CUDART_BOTH(cudaErrorIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                     "an illegal instruction was encountered"),
    FAKE_CUDART_BOTH(cudaErrorMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS,
                     "misaligned address"),
    FAKE_CUDART_BOTH(cudaErrorLaunchFailure, CUDA_ERROR_LAUNCH_FAILED,
                     "unspecified launch failure"),
    FAKE_CUDART_BOTH(cudaErrorNotPermitted, CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    FAKE_CUDART_BOTH(cudaErrorNotSupported, CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    FAKE_CUDART_BOTH(cudaErrorSystemNotReady, CUDA_ERROR_SYSTEM_NOT_READY,
                     "system not yet initialized"),
    FAKE_CUDART_BOTH(cudaErrorSystemDriverMismatch, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
                     "system has unsupported display driver / cuda driver combination"),
    FAKE_CUDART_BOTH(cudaErrorCompatNotSupportedOnDevice, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE,
                     "forward compatibility was attempted on non supported HW"),
    FAKE_CUDART_BOTH(cudaErrorMpsConnectionFailed, CUDA_ERROR_MPS_CONNECTION_FAILED,
                     "MPS client failed to connect to the MPS control daemon or the MPS server"),
    FAKE_CUDART_BOTH(cudaErrorTimeout, CUDA_ERROR_TIMEOUT, "wait operation timed out"),
    FAKE_CUDART_BOTH(cudaErrorExternalDevice, CUDA_ERROR_EXTERNAL_DEVICE,
                     "an async error has occured in external entity outside of CUDA"),
    FAKE_CUDART_BOTH(cudaErrorUnknown, CUDA_ERROR_UNKNOWN, "unknown error"),
};

#undef FAKE_CUDART_BOTH
#undef FAKE_CUDART_RUNTIME

}  // namespace

const ErrorInfo* FindError(int value) {
  for (const ErrorInfo& error : kErrors) {
    if (error.value == value) return &error;
  }
  return nullptr;
}

std::string ErrorName(int value) {
  const ErrorInfo* info = FindError(value);
  if (info == nullptr) return std::to_string(value);
  return info->runtime_name != nullptr ? info->runtime_name : info->driver_name;
}

std::optional<int> ParseError(const std::string& name) {
  for (const ErrorInfo& error : kErrors) {
    if (error.runtime_name != nullptr && name == error.runtime_name) return error.value;
    if (error.driver_name != nullptr && name == error.driver_name) return error.value;
  }
  return std::nullopt;
}

}  // namespace fake_cudart
