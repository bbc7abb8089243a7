// Mutexes with the annotations that clang's -Wthread-safety checks.

#pragma once

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define FAKE_CUDART_ANNOTATION(x) __attribute__((x))
#else
#define FAKE_CUDART_ANNOTATION(x)
#endif

#define FAKE_CUDART_GUARDED_BY(x) FAKE_CUDART_ANNOTATION(guarded_by(x))
#define FAKE_CUDART_REQUIRES(...) FAKE_CUDART_ANNOTATION(requires_capability(__VA_ARGS__))
#define FAKE_CUDART_REQUIRES_SHARED(...) \
  FAKE_CUDART_ANNOTATION(requires_shared_capability(__VA_ARGS__))

namespace fake_cudart {

class FAKE_CUDART_ANNOTATION(capability("mutex")) Mutex {
 public:
  void Lock() FAKE_CUDART_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void Unlock() FAKE_CUDART_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class FAKE_CUDART_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) FAKE_CUDART_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() FAKE_CUDART_ANNOTATION(release_capability()) { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Wakes spuriously: call in a loop over the condition.
class CondVar {
 public:
  void Wait(Mutex& mutex) FAKE_CUDART_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

class FAKE_CUDART_ANNOTATION(capability("shared_mutex")) SharedMutex {
 public:
  void Lock() FAKE_CUDART_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void Unlock() FAKE_CUDART_ANNOTATION(release_capability()) { mutex_.unlock(); }
  void LockShared() FAKE_CUDART_ANNOTATION(acquire_shared_capability()) { mutex_.lock_shared(); }
  void UnlockShared() FAKE_CUDART_ANNOTATION(release_shared_capability()) {
    mutex_.unlock_shared();
  }

 private:
  std::shared_mutex mutex_;
};

class FAKE_CUDART_ANNOTATION(scoped_lockable) ExclusiveLock {
 public:
  explicit ExclusiveLock(SharedMutex& mutex) FAKE_CUDART_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.Lock();
  }
  ~ExclusiveLock() FAKE_CUDART_ANNOTATION(release_capability()) { mutex_.Unlock(); }
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class FAKE_CUDART_ANNOTATION(scoped_lockable) SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex) FAKE_CUDART_ANNOTATION(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.LockShared();
  }
  ~SharedLock() FAKE_CUDART_ANNOTATION(release_capability()) { mutex_.UnlockShared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& mutex_;
};

}  // namespace fake_cudart
