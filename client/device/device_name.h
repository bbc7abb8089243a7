// How people and configs spell devices.

#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace modeld::device {

struct DeviceName {
  enum class Kind {
    kHost,     // `host`
    kCurrent,  // `cuda`
    kOrdinal,  // `cuda:N`
    kUuid,     // `GPU-` and the beginning of a UUID, or all of it
  };
  Kind kind = Kind::kHost;
  int ordinal = 0;
  std::string uuid = {};  // in lower case after `GPU-`
};

// FIELD_INVALID names what can be said.
absl::StatusOr<DeviceName> ParseDeviceName(std::string_view text);

// The one UUID of `uuids` that begins as `name` does. DEVICE_UNAVAILABLE when there is none,
// FIELD_INVALID when there are several. `where` ends the sentence "no such GPU is ...".
// REQUIRES: name.kind == kUuid
absl::StatusOr<std::string> FindUuid(const DeviceName& name, std::span<const std::string> uuids,
                                     std::string_view where);

// `cuda:0 (GPU-...), cuda:1 (GPU-...)`, or `none`: for messages.
std::string ListUuids(std::span<const std::string> uuids);

}  // namespace modeld::device
