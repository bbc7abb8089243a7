#include "base/manual_clock.h"

namespace modeld::base {

TimePoint ManualClock::Now() const {
  wire::MutexLock lock(mutex_);
  return now_;
}

WallTime ManualClock::WallNow() const {
  wire::MutexLock lock(mutex_);
  return WallTime(std::chrono::duration_cast<WallTime::duration>(now_.time_since_epoch()));
}

TimerId ManualClock::At(TimePoint time, Task task) {
  wire::MutexLock lock(mutex_);
  const TimerId id = next_id_++;
  tasks_.emplace(std::make_pair(time, id), std::move(task));
  return id;
}

bool ManualClock::Cancel(TimerId id) {
  Task task;
  wire::MutexLock lock(mutex_);
  for (auto it = tasks_.begin(); it != tasks_.end(); ++it) {
    if (it->first.second != id) continue;
    task = std::move(it->second);
    tasks_.erase(it);
    return true;
  }
  return false;
}

void ManualClock::Advance(Duration duration) {
  TimePoint target;
  {
    wire::MutexLock lock(mutex_);
    target = now_ + duration;
  }
  while (true) {
    Task task;
    {
      wire::MutexLock lock(mutex_);
      const auto first = tasks_.begin();
      if (first == tasks_.end() || first->first.first > target) {
        now_ = target;
        return;
      }
      if (first->first.first > now_) now_ = first->first.first;
      task = std::move(first->second);
      tasks_.erase(first);
    }
    task();
  }
}

size_t ManualClock::pending_count() const {
  wire::MutexLock lock(mutex_);
  return tasks_.size();
}

}  // namespace modeld::base
