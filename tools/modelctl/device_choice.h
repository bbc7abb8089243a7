// What an operator calls a device, and what modeld calls it.

#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "modelctl/environment.h"

namespace modeld::modelctl {

// `host`, or the UUID of `cuda:N`, counted as `modelctl devices` does, or of the GPU whose UUID
// begins so; asks modeld for its devices if need be. FIELD_INVALID, DEVICE_UNAVAILABLE.
absl::StatusOr<std::string> ChooseDevice(Environment& environment, const std::string& name);

}  // namespace modeld::modelctl
