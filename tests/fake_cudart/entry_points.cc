#include <cudaTypedefs.h>

#include <string>
#include <vector>

#include "fake_cudart/api_calls.h"
#include "fake_cudart/config.h"
#include "fake_cudart/driver_api.h"

namespace fake_cudart {
namespace {

struct EntryPoint {
  const char* name = nullptr;
  int since = 0;  // the CUDA version of this signature
  void* function = nullptr;
};

// `Signature` is the toolkit's typedef: a function of another shape does not compile.
template <typename Signature>
EntryPoint Entry(const char* name, int since, Signature function) {
  return {name, since, reinterpret_cast<void*>(function)};
}

const std::vector<EntryPoint>& EntryPoints() {
  static const auto& table = *new std::vector<EntryPoint> {
    Entry<PFN_cuInit_v2000>("cuInit", 2000, CuInit),
        Entry<PFN_cuDriverGetVersion_v2020>("cuDriverGetVersion", 2020, CuDriverGetVersion),
        Entry<PFN_cuGetErrorName_v6000>("cuGetErrorName", 6000, CuGetErrorName),
        Entry<PFN_cuGetErrorString_v6000>("cuGetErrorString", 6000, CuGetErrorString),
        Entry<PFN_cuDeviceGet_v2000>("cuDeviceGet", 2000, CuDeviceGet),
        Entry<PFN_cuDeviceGetCount_v2000>("cuDeviceGetCount", 2000, CuDeviceGetCount),
        Entry<PFN_cuDeviceGetUuid_v9020>("cuDeviceGetUuid", 9020, CuDeviceGetUuid),
        Entry<PFN_cuDeviceGetUuid_v11040>("cuDeviceGetUuid", 11040, CuDeviceGetUuid),
        Entry<PFN_cuDeviceGetAttribute_v2000>("cuDeviceGetAttribute", 2000, CuDeviceGetAttribute),
        Entry<PFN_cuDevicePrimaryCtxGetState_v7000>("cuDevicePrimaryCtxGetState", 7000,
                                                    CuDevicePrimaryCtxGetState),
        Entry<PFN_cuCtxGetCurrent_v4000>("cuCtxGetCurrent", 4000, CuCtxGetCurrent),
        Entry<PFN_cuCtxGetDevice_v2000>("cuCtxGetDevice", 2000, CuCtxGetDevice),
#if CUDART_VERSION >= 13000
        Entry<PFN_cuCtxGetDevice_v13000>("cuCtxGetDevice", 13000, CuCtxGetDeviceOf),
#endif
        Entry<PFN_cuMemGetAllocationGranularity_v10020>("cuMemGetAllocationGranularity", 10020,
                                                        CuMemGetAllocationGranularity),
        Entry<PFN_cuMemCreate_v10020>("cuMemCreate", 10020, CuMemCreate),
        Entry<PFN_cuMemRelease_v10020>("cuMemRelease", 10020, CuMemRelease),
        Entry<PFN_cuMemRetainAllocationHandle_v11000>("cuMemRetainAllocationHandle", 11000,
                                                      CuMemRetainAllocationHandle),
        Entry<PFN_cuMemExportToShareableHandle_v10020>("cuMemExportToShareableHandle", 10020,
                                                       CuMemExportToShareableHandle),
        Entry<PFN_cuMemImportFromShareableHandle_v10020>("cuMemImportFromShareableHandle", 10020,
                                                         CuMemImportFromShareableHandle),
        Entry<PFN_cuMemGetAllocationPropertiesFromHandle_v10020>(
            "cuMemGetAllocationPropertiesFromHandle", 10020,
            CuMemGetAllocationPropertiesFromHandle),
        Entry<PFN_cuMemAddressReserve_v10020>("cuMemAddressReserve", 10020, CuMemAddressReserve),
        Entry<PFN_cuMemAddressFree_v10020>("cuMemAddressFree", 10020, CuMemAddressFree),
        Entry<PFN_cuMemMap_v10020>("cuMemMap", 10020, CuMemMap),
        Entry<PFN_cuMemUnmap_v10020>("cuMemUnmap", 10020, CuMemUnmap),
        Entry<PFN_cuMemSetAccess_v10020>("cuMemSetAccess", 10020, CuMemSetAccess),
        Entry<PFN_cuMemGetAccess_v10020>("cuMemGetAccess", 10020, CuMemGetAccess),
  };
  return table;
}

struct Search {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
};

// The newest signature that `version` knows. FAKE_CUDA_VMM=0 is a driver without cuMem functions.
Search FindEntryPoint(const std::string& name, int version) {
  Search search;
  if (!GetConfig().vmm && name.compare(0, 5, "cuMem") == 0) return search;
  for (const EntryPoint& entry : EntryPoints()) {
    if (name != entry.name) continue;
    if (entry.since <= version) {
      search = {entry.function, cudaDriverEntryPointSuccess};
    } else if (search.function == nullptr) {
      search.result = cudaDriverEntryPointVersionNotSufficent;
    }
  }
  return search;
}

cudaError_t GetEntryPoint(const char* name, void** function, unsigned int version,
                          unsigned long long flags, cudaDriverEntryPointQueryResult* result) {
  constexpr unsigned long long kLastFlag = cudaEnablePerThreadDefaultStream;
  if (name == nullptr || function == nullptr || flags > kLastFlag ||
      version > static_cast<unsigned int>(GetConfig().driver_version)) {
    return cudaErrorInvalidValue;
  }
  const Search search = FindEntryPoint(name, static_cast<int>(version));
  *function = search.function;
  if (result != nullptr) *result = search.result;
  return cudaSuccess;
}

}  // namespace
}  // namespace fake_cudart

using fake_cudart::Needs;
using fake_cudart::RuntimeCall;

#if CUDART_VERSION >= 12050
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function,
                                             unsigned int version, unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result) {
  return RuntimeCall("cudaGetDriverEntryPointByVersion", Needs::kDevices, [&] {
    return fake_cudart::GetEntryPoint(name, function, version, flags, result);
  });
}
#endif

cudaError_t cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long flags,
                                    cudaDriverEntryPointQueryResult* result) {
  return RuntimeCall("cudaGetDriverEntryPoint", Needs::kDevices, [&] {
    return fake_cudart::GetEntryPoint(name, function, CUDART_VERSION, flags, result);
  });
}
