#include "memory/cuda_driver.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "memory/cuda_status.h"
#include "wire/error.h"

namespace modeld::memory {
namespace {

// All of them are there, in this form, since CUDA 11.2; descriptors as handles since 10.2.
constexpr unsigned int kVersion = 12000;

template <typename Function>
absl::Status Find(const char* name, Function* function) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(name, &address, kVersion, cudaEnableDefault, &found);
  if (absl::Status status = CudaStatus(error, absl::StrCat("looking for ", name)); !status.ok()) {
    return status;
  }
  if (found != cudaDriverEntryPointSuccess || address == nullptr) {
    return wire::MakeError(wire::Reason::kDeviceUnavailable,
                           absl::StrCat("the driver has no ", name), {},
                           "install a driver for CUDA 12.0 or newer, or set export = \"ipc\"");
  }
  *function = reinterpret_cast<Function>(address);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CudaDriver> CudaDriver::Load() {
  CudaDriver driver;
  absl::Status status;
  status.Update(Find("cuMemCreate", &driver.create));
  status.Update(Find("cuMemRelease", &driver.release));
  status.Update(Find("cuMemExportToShareableHandle", &driver.export_handle));
  status.Update(Find("cuMemImportFromShareableHandle", &driver.import_handle));
  status.Update(Find("cuMemAddressReserve", &driver.reserve));
  status.Update(Find("cuMemAddressFree", &driver.free_address));
  status.Update(Find("cuMemMap", &driver.map));
  status.Update(Find("cuMemUnmap", &driver.unmap));
  status.Update(Find("cuMemSetAccess", &driver.set_access));
  if (!status.ok()) return status;
  return driver;
}

}  // namespace modeld::memory
