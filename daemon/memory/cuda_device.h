// The GPU of this process.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace modeld::memory {

struct CudaDeviceFacts {
  std::string uuid;  // `GPU-` and the UUID in lower case, as nvidia-smi writes it
  std::string name;
  std::string pci_bus_id;  // `0000:17:00.0`
  uint64_t memory_bytes = 0;
};

struct CudaDevices {
  std::vector<CudaDeviceFacts> usable;  // in PCI order
  // Of those that are not: words for an operator. A slice of a GPU (MIG) is one: it has an identity
  // of its own, and memory of one slice cannot be given to a process on another.
  std::vector<std::string> notes;
};

// What CUDA shows this process. Makes no context. kDeviceUnavailable: no driver, one that is too
// old, no GPU, or none that may be used; the message says which, and what to do.
absl::StatusOr<CudaDevices> ListCudaDevices();

// What the driver supports, as CUDA counts: 13000 for 13.0; 0 without a driver.
uint32_t CudaDriverVersion();

// Makes the primary context of the one GPU that this process can see. What it is called for must be
// `uuid`: kDeviceUnavailable otherwise. Once, before any other thread uses CUDA; ordinal 0 is then
// the current device of every thread. kDeviceLost, kBudgetExceeded.
absl::Status OpenCudaDevice(const std::string& uuid);

}  // namespace modeld::memory
