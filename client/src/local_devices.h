// Devices as this process knows them.

#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "device/plugin.h"

namespace modeld::client {

inline constexpr char kHost[] = "host";

// libmodeld-cuda, from beside libmodeld or where the loader finds it. DEVICE_UNAVAILABLE.
absl::StatusOr<const device::Plugin*> LoadPlugin();

// `host`, or the UUID of what is spelled `cuda`, `cuda:N` or `GPU-...`, seen from the calling
// thread; empty is `host`. FIELD_INVALID, DEVICE_UNAVAILABLE.
absl::StatusOr<std::string> ResolveDevice(const std::string& name);

}  // namespace modeld::client
