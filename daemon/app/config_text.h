// The configuration as a documented file.

#pragma once

#include <string>

#include "app/config.h"

namespace modeld::app {

// A modeld.toml with these values; each says where it comes from. Reading it gives the same
// configuration.
std::string DumpConfig(const LoadedConfig& loaded);

// deploy/config/modeld.toml: each setting with its default, commented out.
std::string DefaultConfigFile();

}  // namespace modeld::app
