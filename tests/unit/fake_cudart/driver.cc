#include "driver.h"

#include <stdio.h>

#include "child.h"

namespace fake_cudart_test {
namespace {

template <typename Function>
void Load(Function& function, const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  REQUIRE_CUDA(cudaSuccess,
               cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result));
  if (result != cudaDriverEntryPointSuccess) Fail(__FILE__, __LINE__, name);
  function = reinterpret_cast<Function>(found);
}

Driver LoadAll() {
  Driver driver;
  Load(driver.device_get_uuid, "cuDeviceGetUuid");
  Load(driver.primary_ctx_get_state, "cuDevicePrimaryCtxGetState");
  Load(driver.ctx_get_current, "cuCtxGetCurrent");
  Load(driver.ctx_get_device, "cuCtxGetDevice");
  Load(driver.granularity, "cuMemGetAllocationGranularity");
  Load(driver.create, "cuMemCreate");
  Load(driver.release, "cuMemRelease");
  Load(driver.retain, "cuMemRetainAllocationHandle");
  Load(driver.export_fd, "cuMemExportToShareableHandle");
  Load(driver.import_fd, "cuMemImportFromShareableHandle");
  Load(driver.properties, "cuMemGetAllocationPropertiesFromHandle");
  Load(driver.reserve, "cuMemAddressReserve");
  Load(driver.free, "cuMemAddressFree");
  Load(driver.map, "cuMemMap");
  Load(driver.unmap, "cuMemUnmap");
  Load(driver.set_access, "cuMemSetAccess");
  Load(driver.get_access, "cuMemGetAccess");
  return driver;
}

}  // namespace

const Driver& Driver::Get() {
  static const Driver driver = LoadAll();
  return driver;
}

std::string UuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (size_t i = 0; i < sizeof uuid.bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += "-";
    char digits[3];
    snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
    text += digits;
  }
  return text;
}

}  // namespace fake_cudart_test
