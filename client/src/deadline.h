// Until when to wait.

#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace modeld::client {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;
// Absent: as long as it takes.
using Deadline = std::optional<TimePoint>;

inline Deadline DeadlineAfter(std::optional<Duration> timeout) {
  // Whoever says "the largest there is" means no timeout, and the sum must not wrap.
  constexpr Duration kForever = std::chrono::hours(24 * 365 * 100);
  if (!timeout || *timeout > kForever) return std::nullopt;
  return Clock::now() + std::max(*timeout, Duration::zero());
}

inline bool HasPassed(const Deadline& deadline) { return deadline && Clock::now() >= *deadline; }

}  // namespace modeld::client
