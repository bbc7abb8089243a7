// What CUDA says, as statuses. For cuda_*.cc only: no other folder includes CUDA.

#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <string>

#include "absl/status/status.h"

namespace modeld::memory {

// OK for cudaSuccess. Otherwise, with `what` was being done and CUDA's own name and words:
// kBudgetExceeded when the device has no memory left, kDeviceLost when the device or this process'
// context on it is of no more use (a sticky error, a device that went away), else
// kDeviceUnavailable. Takes the error away from cudaGetLastError.
absl::Status CudaStatus(cudaError_t error, const std::string& what);
// The same of the driver's functions.
absl::Status CudaStatus(CUresult result, const std::string& what);

}  // namespace modeld::memory
