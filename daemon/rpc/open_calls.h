// Counts calls of one kind, to bound them and to wait for their end.

#pragma once

#include <cstddef>
#include <limits>

#include "base/clock.h"
#include "wire/mutex.h"

namespace modeld::rpc {

// Thread-safe.
class OpenCalls {
 public:
  explicit OpenCalls(size_t limit = std::numeric_limits<size_t>::max()) : limit_(limit) {}

  // False when `limit` are open; otherwise a Leave must follow.
  bool Enter() {
    wire::MutexLock lock(mutex_);
    if (count_ >= limit_) return false;
    ++count_;
    return true;
  }

  void Leave() {
    wire::MutexLock lock(mutex_);
    if (--count_ == 0) none_.NotifyAll();
  }

  // False when there are still some at `deadline` (of the machine's steady clock).
  bool WaitForNone(base::TimePoint deadline) {
    wire::MutexLock lock(mutex_);
    while (count_ > 0) {
      if (!none_.WaitUntil(mutex_, deadline)) return count_ == 0;
    }
    return true;
  }

  size_t limit() const { return limit_; }

 private:
  const size_t limit_;
  wire::Mutex mutex_;
  wire::CondVar none_;
  size_t count_ MODELD_GUARDED_BY(mutex_) = 0;
};

}  // namespace modeld::rpc
