// CUDA as the questions need it: the runtime, and functions of the driver that come by way of it.

#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <string>

namespace modeld::gpu_test {

struct Driver {
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemExportToShareableHandle) export_handle = nullptr;
  decltype(&cuMemImportFromShareableHandle) import_handle = nullptr;
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemAddressFree) free_address = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;
  // Null on tests/fake_cudart, which runs no kernels.
  decltype(&cuModuleLoadData) load_module = nullptr;
  decltype(&cuModuleGetFunction) get_function = nullptr;
  decltype(&cuLaunchKernel) launch = nullptr;
};

// Once a context is there. What the driver has not is null.
const Driver& TheDriver();

// `cudaErrorIllegalAddress (an illegal memory access was encountered)`; empty for success.
std::string ErrorText(cudaError_t error);
inline std::string ErrorText(CUresult error) { return ErrorText(static_cast<cudaError_t>(error)); }

}  // namespace modeld::gpu_test
