#include "memory/cuda_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "memory/cuda_status.h"
#include "memory/gpu_diagnosis.h"
#include "wire/error.h"
#include "wire/gpu_uuid.h"

namespace modeld::memory {
namespace {

absl::StatusOr<CudaDeviceFacts> FactsOf(int ordinal) {
  cudaDeviceProp properties;
  absl::Status status = CudaStatus(cudaGetDeviceProperties(&properties, ordinal),
                                   absl::StrCat("asking about GPU ", ordinal));
  if (!status.ok()) return status;
  return CudaDeviceFacts{.uuid = wire::GpuUuidText(properties.uuid.bytes),
                         .name = properties.name,
                         .pci_bus_id = absl::StrFormat("%04x:%02x:%02x.0", properties.pciDomainID,
                                                       properties.pciBusID, properties.pciDeviceID),
                         .memory_bytes = properties.totalGlobalMem};
}

// The runtime gives one error for a driver that is not there and for one that is old.
NoGpu KindOf(cudaError_t error) {
  if (error == cudaErrorInsufficientDriver) {
    return CudaDriverVersion() == 0 ? NoGpu::kNoDriver : NoGpu::kOldDriver;
  }
  return error == cudaErrorNoDevice ? NoGpu::kNoDevice : NoGpu::kOther;
}

// CUDA has no attribute for it; the product's name ends with the profile: `... MIG 1g.10gb`.
bool IsSlice(const std::string& name) { return absl::StrContains(name, " MIG "); }

}  // namespace

absl::StatusOr<CudaDevices> ListCudaDevices() {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    const std::string words(CudaStatus(error, "counting the GPUs").message());
    return wire::MakeError(
        wire::Reason::kDeviceUnavailable,
        WhyNoGpu(KindOf(error), CudaDriverVersion(), CUDART_VERSION, words, ReadDriverFacts()));
  }
  CudaDevices devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    auto facts = FactsOf(ordinal);
    if (!facts.ok()) return facts.status();
    if (IsSlice(facts->name)) {
      devices.notes.push_back(absl::StrCat(facts->name, " at ", facts->pci_bus_id,
                                           " is a slice of a GPU: modeld uses whole GPUs only. "
                                           "Switch MIG off on it (nvidia-smi -mig "
                                           "0), or keep its models on the host"));
      continue;
    }
    devices.usable.push_back(*std::move(facts));
  }
  std::sort(devices.usable.begin(), devices.usable.end(),
            [](const auto& a, const auto& b) { return a.pci_bus_id < b.pci_bus_id; });
  return devices;
}

uint32_t CudaDriverVersion() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? static_cast<uint32_t>(version) : 0;
}

absl::Status OpenCudaDevice(const std::string& uuid) {
  const auto devices = ListCudaDevices();
  if (!devices.ok()) return devices.status();
  const std::vector<CudaDeviceFacts>& usable = devices->usable;
  if (usable.size() != 1 || usable.front().uuid != uuid) {
    return wire::MakeError(
        wire::Reason::kDeviceUnavailable,
        absl::StrCat("CUDA shows ", usable.size(), " GPUs, and they are not just ", uuid),
        {{"device", uuid}}, absl::StrCat("run it with CUDA_VISIBLE_DEVICES=", uuid));
  }
  return CudaStatus(cudaInitDevice(0, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid),
                    absl::StrCat("making a context on ", uuid));
}

}  // namespace modeld::memory
