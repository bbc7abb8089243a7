// Durations as people type them.

#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"

namespace modeld::modelctl {

// `500ms`, `10s`, `1.5s`, `2m`, `1h30m`. INVALID_ARGUMENT for anything without a unit, for zero,
// for what is negative or more than a hundred years.
absl::StatusOr<std::chrono::nanoseconds> ParseDuration(const std::string& text);

// The other way, in the largest unit that is exact: `500ms`, `90s`.
std::string DurationText(std::chrono::nanoseconds duration);

}  // namespace modeld::modelctl
