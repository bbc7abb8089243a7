// What a fake GPU says about itself.

#pragma once

#include <optional>
#include <string>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/devices.h"

namespace fake_cudart {

// cudaDeviceAttr and CUdevice_attribute have the same numbers. What a plain data center GPU has not
// is 0; nothing for a number that is no attribute.
std::optional<int> DeviceAttribute(const Device& device, int attribute);

void FillProperties(const Device& device, cudaDeviceProp& properties);

int PciBus(const Device& device);
std::string PciBusId(const Device& device);

}  // namespace fake_cudart
