#include "cuda/driver_api.h"

#include <string>

namespace modeld::gpu {
namespace {

// `version` is that of the function's signature.
template <class Function>
MaybeFailure Get(const char* name, unsigned int version, Function& function) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(name, &address, version, cudaEnableDefault, &result);
  if (error != cudaSuccess)
    return MakeFailure(std::string("cannot ask the driver for ") + name, error);
  if (result != cudaDriverEntryPointSuccess || address == nullptr) {
    return MakeFailure(std::string("the driver has no ") + name, cudaErrorNotSupported);
  }
  function = reinterpret_cast<Function>(address);
  return {};
}

}  // namespace

MaybeFailure GetDriverApi(DriverApi& api) {
  if (auto failed = Get("cuDeviceGet", 2000, api.device_get)) return failed;
  if (auto failed = Get("cuDeviceGetUuid", 11040, api.device_get_uuid)) return failed;
  return Get("cuDevicePrimaryCtxGetState", 7000, api.primary_context_state);
}

MaybeFailure GetVmmApi(VmmApi& api) {
  constexpr unsigned int kVersion = 10020;
  if (auto failed = Get("cuMemImportFromShareableHandle", kVersion, api.import_handle))
    return failed;
  if (auto failed = Get("cuMemGetAllocationPropertiesFromHandle", kVersion, api.properties)) {
    return failed;
  }
  if (auto failed = Get("cuMemRelease", kVersion, api.release)) return failed;
  if (auto failed = Get("cuMemAddressReserve", kVersion, api.address_reserve)) return failed;
  if (auto failed = Get("cuMemAddressFree", kVersion, api.address_free)) return failed;
  if (auto failed = Get("cuMemMap", kVersion, api.map)) return failed;
  if (auto failed = Get("cuMemUnmap", kVersion, api.unmap)) return failed;
  return Get("cuMemSetAccess", kVersion, api.set_access);
}

}  // namespace modeld::gpu
