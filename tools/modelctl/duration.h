// Durations as people type them.

#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"

namespace modeld::modelctl {

// `500ms`, `10s`, `1.5s`, `2m`, `1h30m`. INVALID_ARGUMENT for anything without a unit, for zero,
// for what is negative or more than a hundred years.
absl::StatusOr<std::chrono::nanoseconds> ParseDuration(const std::string& text);

// How long something stays after its last use: a duration as above, `0` or `0s` (it goes with
// that), or `forever`, which is negative. INVALID_ARGUMENT.
absl::StatusOr<std::chrono::nanoseconds> ParseKeepAlive(const std::string& text);

// The other way, in the largest unit that is exact: `500ms`, `90s`; `0s`.
std::string DurationText(std::chrono::nanoseconds duration);
std::string KeepAliveText(std::chrono::nanoseconds keep_alive);

}  // namespace modeld::modelctl
