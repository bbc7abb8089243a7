// modeld.toml.

#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "app/config.h"

namespace modeld::app {

// The settings that a file names, with `path:line` as origin. INVALID_ARGUMENT gives path, line and
// column: a file that is no TOML, a key that is no setting (with the nearest one suggested), a
// value of a type that no setting has.
absl::StatusOr<RawValues> ParseConfigText(std::string_view text, const std::string& path);

// NOT_FOUND, or UNAVAILABLE when it cannot be read.
absl::StatusOr<RawValues> ReadConfigFile(const std::string& path);

}  // namespace modeld::app
