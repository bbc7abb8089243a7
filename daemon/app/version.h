#pragma once

namespace modeld::app {

// Of the release, from the build: `0.1.0`.
inline constexpr char kVersion[] = MODELD_VERSION;

}  // namespace modeld::app
