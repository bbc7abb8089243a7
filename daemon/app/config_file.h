// modeld.toml.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "app/config.h"

namespace modeld::app {

struct ConfigFile {
  RawValues settings;  // those that it names, with `path:line` as origin
  std::vector<Preload> preloads;
};

// INVALID_ARGUMENT gives path, line and column: a file that is no TOML, a key that is no setting
// (with the nearest one suggested), a value of a type that no setting has, and what is wrong with a
// preload.
absl::StatusOr<ConfigFile> ParseConfigText(std::string_view text, const std::string& path);

// NOT_FOUND, or UNAVAILABLE when it cannot be read.
absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path);

}  // namespace modeld::app
