#include "memory/cuda_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "memory/cuda_status.h"
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

}  // namespace

absl::StatusOr<std::vector<CudaDeviceFacts>> ListCudaDevices() {
  int count = 0;
  if (auto status = CudaStatus(cudaGetDeviceCount(&count), "counting the GPUs"); !status.ok()) {
    return wire::MakeError(wire::Reason::kDeviceUnavailable, std::string(status.message()), {},
                           "is the driver installed? nvidia-smi");
  }
  std::vector<CudaDeviceFacts> devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    auto facts = FactsOf(ordinal);
    if (!facts.ok()) return facts.status();
    devices.push_back(*std::move(facts));
  }
  std::sort(devices.begin(), devices.end(),
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
  if (devices->size() != 1 || devices->front().uuid != uuid) {
    return wire::MakeError(
        wire::Reason::kDeviceUnavailable,
        absl::StrCat("CUDA shows ", devices->size(), " GPUs, and they are not just ", uuid),
        {{"device", uuid}}, absl::StrCat("run it with CUDA_VISIBLE_DEVICES=", uuid));
  }
  return CudaStatus(cudaInitDevice(0, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid),
                    absl::StrCat("making a context on ", uuid));
}

}  // namespace modeld::memory
