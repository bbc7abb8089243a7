#include "base/timer.h"

#include <pthread.h>

namespace modeld::base {

ThreadTimer::ThreadTimer() : thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "timer");
}

ThreadTimer::~ThreadTimer() {
  {
    wire::MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

TimerId ThreadTimer::At(TimePoint time, Task task) {
  TimerId id = 0;
  {
    wire::MutexLock lock(mutex_);
    id = next_id_++;
    tasks_.emplace(std::make_pair(time, id), std::move(task));
    times_.emplace(id, time);
  }
  wake_.NotifyAll();
  return id;
}

bool ThreadTimer::Cancel(TimerId id) {
  // Dies outside the lock: its captures' destructors may come back here.
  Task task;
  wire::MutexLock lock(mutex_);
  const auto time = times_.find(id);
  if (time == times_.end()) return false;
  const auto node = tasks_.find({time->second, id});
  task = std::move(node->second);
  tasks_.erase(node);
  times_.erase(time);
  return true;
}

void ThreadTimer::Run() {
  while (true) {
    Task task;
    {
      wire::MutexLock lock(mutex_);
      while (true) {
        if (stopping_) return;
        if (tasks_.empty()) {
          wake_.Wait(mutex_);
          continue;
        }
        const TimePoint due = tasks_.begin()->first.first;
        if (due <= std::chrono::steady_clock::now()) break;
        wake_.WaitUntil(mutex_, due);
      }
      const auto first = tasks_.begin();
      task = std::move(first->second);
      times_.erase(first->first.second);
      tasks_.erase(first);
    }
    task();
  }
}

}  // namespace modeld::base
