// The driver's virtual memory functions, by way of the runtime: nothing links libcuda.

#pragma once

#include <cuda.h>

#include "absl/status/statusor.h"

namespace modeld::memory {

// Filled by cudaGetDriverEntryPointByVersion. Copyable; thread-safe.
struct CudaDriver {
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemExportToShareableHandle) export_handle = nullptr;
  decltype(&cuMemImportFromShareableHandle) import_handle = nullptr;
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemAddressFree) free_address = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;

  // kDeviceUnavailable names the function that the driver does not have.
  static absl::StatusOr<CudaDriver> Load();
};

}  // namespace modeld::memory
