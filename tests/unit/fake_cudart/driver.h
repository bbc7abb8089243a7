// The driver's functions as a program without libcuda gets them.

#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <string>

namespace fake_cudart_test {

struct Driver {
  PFN_cuDeviceGetUuid_v11040 device_get_uuid;
  PFN_cuDevicePrimaryCtxGetState_v7000 primary_ctx_get_state;
  PFN_cuCtxGetCurrent_v4000 ctx_get_current;
  PFN_cuCtxGetDevice_v2000 ctx_get_device;
  PFN_cuMemGetAllocationGranularity_v10020 granularity;
  PFN_cuMemCreate_v10020 create;
  PFN_cuMemRelease_v10020 release;
  PFN_cuMemRetainAllocationHandle_v11000 retain;
  PFN_cuMemExportToShareableHandle_v10020 export_fd;
  PFN_cuMemImportFromShareableHandle_v10020 import_fd;
  PFN_cuMemGetAllocationPropertiesFromHandle_v10020 properties;
  PFN_cuMemAddressReserve_v10020 reserve;
  PFN_cuMemAddressFree_v10020 free;
  PFN_cuMemMap_v10020 map;
  PFN_cuMemUnmap_v10020 unmap;
  PFN_cuMemSetAccess_v10020 set_access;
  PFN_cuMemGetAccess_v10020 get_access;

  // Ends the process when one is missing.
  static const Driver& Get();
};

// As nvidia-smi writes it.
std::string UuidText(const cudaUUID_t& uuid);

}  // namespace fake_cudart_test
