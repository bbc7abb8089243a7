// Time as something that is given, so that tests can hold it.

#pragma once

#include <chrono>
#include <memory>

namespace modeld::base {

using TimePoint = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;
using Duration = std::chrono::nanoseconds;

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // For intervals and deadlines: never jumps.
  virtual TimePoint Now() const = 0;
  // For people: may jump, decides nothing.
  virtual WallTime WallNow() const = 0;
};

// The machine's clocks. Never destroyed.
const Clock& SystemClock();

}  // namespace modeld::base
