// Where modelctl finds libmodeld-cuda.

#pragma once

#include "absl/status/statusor.h"
#include "device/plugin.h"

namespace modeld::modelctl {

// From beside modelctl or the library folder of its prefix, else from where the loader looks.
// DEVICE_UNAVAILABLE.
absl::StatusOr<const device::Plugin*> LoadGpuPlugin();

}  // namespace modeld::modelctl
