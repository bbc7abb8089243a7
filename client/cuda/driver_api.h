// The functions of the driver that the runtime does not have. They come through the runtime, so
// that nothing links libcuda.

#pragma once

#include <cudaTypedefs.h>

#include "cuda/failure.h"

namespace modeld::gpu {

struct DriverApi {
  PFN_cuDeviceGet_v2000 device_get;
  PFN_cuDeviceGetUuid_v11040 device_get_uuid;
  PFN_cuDevicePrimaryCtxGetState_v7000 primary_context_state;
};

// Virtual memory management.
struct VmmApi {
  PFN_cuMemImportFromShareableHandle_v10020 import_handle;
  PFN_cuMemGetAllocationPropertiesFromHandle_v10020 properties;
  PFN_cuMemRelease_v10020 release;
  PFN_cuMemAddressReserve_v10020 address_reserve;
  PFN_cuMemAddressFree_v10020 address_free;
  PFN_cuMemMap_v10020 map;
  PFN_cuMemUnmap_v10020 unmap;
  PFN_cuMemSetAccess_v10020 set_access;
};

// Thread-safe. Fail where there is no driver, or one that has not got them all.
MaybeFailure GetDriverApi(DriverApi& api);
MaybeFailure GetVmmApi(VmmApi& api);

}  // namespace modeld::gpu
