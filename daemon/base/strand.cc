#include "base/strand.h"

#include <utility>

namespace modeld::base {

void Strand::Post(Task task) {
  {
    wire::MutexLock lock(mutex_);
    if (running_) {
      tasks_.push_back(std::move(task));
      return;
    }
    running_ = true;
  }
  while (true) {
    task();
    // A task's captures die before the next one runs, and outside the lock: their destructors may
    // post.
    task = nullptr;
    wire::MutexLock lock(mutex_);
    if (tasks_.empty()) {
      running_ = false;
      return;
    }
    task = std::move(tasks_.front());
    tasks_.pop_front();
  }
}

}  // namespace modeld::base
