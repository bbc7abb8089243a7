// Time for tests: stands still until it is moved.

#pragma once

#include <map>
#include <utility>

#include "base/clock.h"
#include "base/timer.h"
#include "wire/mutex.h"

namespace modeld::base {

// Clock and timer in one. Thread-safe; tasks run inside Advance, in the order of their times.
class ManualClock : public Clock, public Timer {
 public:
  TimePoint Now() const override;
  WallTime WallNow() const override;
  TimerId At(TimePoint time, Task task) override;
  bool Cancel(TimerId id) override;

  void Advance(Duration duration);
  size_t pending_count() const;

 private:
  mutable wire::Mutex mutex_;
  TimePoint now_ MODELD_GUARDED_BY(mutex_) = TimePoint(std::chrono::hours(1));
  std::map<std::pair<TimePoint, TimerId>, Task> tasks_ MODELD_GUARDED_BY(mutex_);
  TimerId next_id_ MODELD_GUARDED_BY(mutex_) = 1;
};

}  // namespace modeld::base
