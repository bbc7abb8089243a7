#include "fake_cudart/device_attributes.h"

#include <stdio.h>
#include <string.h>

#include <array>

namespace fake_cudart {
namespace {

constexpr int kMultiprocessors = 132;
constexpr int kPciDevice = 0;
constexpr int kCapabilityMajor = 9;
constexpr int kCapabilityMinor = 0;

}  // namespace

std::optional<int> DeviceAttribute(const Device& device, int attribute) {
  const int vmm = GetConfig().vmm ? 1 : 0;
  if (attribute < 1 || attribute >= CU_DEVICE_ATTRIBUTE_MAX) return std::nullopt;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return 1024;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      return 32;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return kMultiprocessors;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
      return PciBus(device);
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
      return 3;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return kCapabilityMajor;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return kCapabilityMinor;
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
      return vmm;
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED:
      return 1;
    default:
      return 0;
  }
}

void FillProperties(const Device& device, cudaDeviceProp& properties) {
  memset(&properties, 0, sizeof properties);
  const bool slice = device.name().compare(0, 4, "MIG-") == 0;
  snprintf(properties.name, sizeof properties.name, "Fake GPU%s", slice ? " MIG 1g.10gb" : "");
  static_assert(sizeof properties.uuid == sizeof device.spec.uuid);
  memcpy(&properties.uuid, device.spec.uuid.data(), sizeof properties.uuid);
  properties.totalGlobalMem = device.spec.memory_bytes;
  properties.warpSize = 32;
  properties.maxThreadsPerBlock = 1024;
  properties.major = kCapabilityMajor;
  properties.minor = kCapabilityMinor;
  properties.multiProcessorCount = kMultiprocessors;
  properties.canMapHostMemory = 1;
  properties.concurrentKernels = 1;
  properties.pciBusID = PciBus(device);
  properties.pciDeviceID = kPciDevice;
  properties.asyncEngineCount = 3;
  properties.unifiedAddressing = 1;
  properties.hostRegisterSupported = 1;
  properties.hostRegisterReadOnlySupported = 1;
  properties.ipcEventSupported = 1;
}

int PciBus(const Device& device) { return device.index + 1; }

std::string PciBusId(const Device& device) {
  std::array<char, 16> text;
  snprintf(text.data(), text.size(), "0000:%02x:%02x.0", static_cast<unsigned int>(PciBus(device)),
           static_cast<unsigned int>(kPciDevice));
  return text.data();
}

}  // namespace fake_cudart
