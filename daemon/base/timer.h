// Things to do later.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/executor.h"
#include "wire/mutex.h"

namespace modeld::base {

using TimerId = uint64_t;

// Thread-safe. A task runs once, at or after its time, unless it was cancelled before it began.
class Timer {
 public:
  virtual ~Timer() = default;
  virtual TimerId At(TimePoint time, Task task) = 0;
  // True if the task will not run. False if it ran, runs, or was never there.
  virtual bool Cancel(TimerId id) = 0;
};

// One thread that sleeps until the next task. Tasks are short: whatever blocks goes on to an
// Executor.
class ThreadTimer : public Timer {
 public:
  ThreadTimer();
  // Joins; tasks that have not begun never run.
  ~ThreadTimer() override;

  TimerId At(TimePoint time, Task task) override;
  bool Cancel(TimerId id) override;

 private:
  void Run();

  wire::Mutex mutex_;
  wire::CondVar wake_;
  std::map<std::pair<TimePoint, TimerId>, Task> tasks_ MODELD_GUARDED_BY(mutex_);
  std::map<TimerId, TimePoint> times_ MODELD_GUARDED_BY(mutex_);
  TimerId next_id_ MODELD_GUARDED_BY(mutex_) = 1;
  bool stopping_ MODELD_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace modeld::base
