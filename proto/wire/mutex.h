// std::mutex with the annotations that clang's -Wthread-safety checks.
//
// absl::Mutex would do the same, but Debian's build of it is not instrumented: ThreadSanitizer then
// reports correct code.

#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define MODELD_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define MODELD_THREAD_ANNOTATION(x)
#endif

#define MODELD_GUARDED_BY(x) MODELD_THREAD_ANNOTATION(guarded_by(x))
#define MODELD_REQUIRES(...) MODELD_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define MODELD_EXCLUDES(...) MODELD_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))

namespace modeld::wire {

class MODELD_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() MODELD_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void Unlock() MODELD_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds a Mutex for a scope.
class MODELD_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) MODELD_THREAD_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() MODELD_THREAD_ANNOTATION(release_capability()) { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// A condition variable for Mutex. Wakes spuriously: call in a loop over the condition.
class CondVar {
 public:
  void Wait(Mutex& mutex) MODELD_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }

  // Returns false when `deadline` has passed.
  template <class Clock, class Duration>
  bool WaitUntil(Mutex& mutex, std::chrono::time_point<Clock, Duration> deadline)
      MODELD_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = cv_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }

  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace modeld::wire
