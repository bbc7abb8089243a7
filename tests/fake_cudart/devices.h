// The GPUs that this process sees.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fake_cudart/config.h"
#include "fake_cudart/cuda_api.h"

namespace fake_cudart {

struct Device {
  int ordinal = 0;  // as this process counts
  int index = 0;    // in FAKE_CUDA_DEVICES: the same in every process
  DeviceSpec spec;

  const std::string& name() const { return spec.name; }
};

// Decided once: what FAKE_CUDA_DEVICES lists, less those gone by then, as CUDA_VISIBLE_DEVICES
// selects. The references live as long as the process. Thread-safe.
const std::vector<Device>& VisibleDevices();

// REQUIRES: an ordinal below VisibleDevices().size().
const Device& GetDevice(int ordinal);

// Null when the process does not see it.
const Device* FindDevice(const Uuid& uuid);

// cudaSuccess, cudaErrorInvalidDevice, or cudaErrorDevicesUnavailable for one that is gone by now.
cudaError_t CheckDevice(int ordinal);

}  // namespace fake_cudart
