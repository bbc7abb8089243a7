#include "gpu/driver.h"

namespace modeld::gpu_test {
namespace {

template <typename Function>
void Find(const char* name, Function* function) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return;
  *function = reinterpret_cast<Function>(address);
}

Driver Load() {
  Driver driver;
  Find("cuMemCreate", &driver.create);
  Find("cuMemRelease", &driver.release);
  Find("cuMemExportToShareableHandle", &driver.export_handle);
  Find("cuMemImportFromShareableHandle", &driver.import_handle);
  Find("cuMemAddressReserve", &driver.reserve);
  Find("cuMemAddressFree", &driver.free_address);
  Find("cuMemMap", &driver.map);
  Find("cuMemUnmap", &driver.unmap);
  Find("cuMemSetAccess", &driver.set_access);
  Find("cuModuleLoadData", &driver.load_module);
  Find("cuModuleGetFunction", &driver.get_function);
  Find("cuLaunchKernel", &driver.launch);
  return driver;
}

}  // namespace

const Driver& TheDriver() {
  static const Driver& driver = *new Driver(Load());
  return driver;
}

std::string ErrorText(cudaError_t error) {
  if (error == cudaSuccess) return "";
  return std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) + ")";
}

}  // namespace modeld::gpu_test
