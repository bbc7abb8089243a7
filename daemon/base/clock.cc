#include "base/clock.h"

namespace modeld::base {
namespace {

class MachineClock : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  WallTime WallNow() const override { return std::chrono::system_clock::now(); }
};

}  // namespace

const Clock& SystemClock() {
  static const auto* const clock = new MachineClock;
  return *clock;
}

}  // namespace modeld::base
