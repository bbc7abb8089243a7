// The project's annotated mutex, and a shared one beside it.

#pragma once

#include <shared_mutex>

#include "wire/mutex.h"

#define FAKE_CUDART_REQUIRES_SHARED(...) \
  MODELD_THREAD_ANNOTATION(requires_shared_capability(__VA_ARGS__))

namespace fake_cudart {

using modeld::wire::CondVar;
using modeld::wire::Mutex;
using modeld::wire::MutexLock;

class MODELD_THREAD_ANNOTATION(capability("shared_mutex")) SharedMutex {
 public:
  void Lock() MODELD_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void Unlock() MODELD_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  void LockShared() MODELD_THREAD_ANNOTATION(acquire_shared_capability()) { mutex_.lock_shared(); }
  void UnlockShared() MODELD_THREAD_ANNOTATION(release_shared_capability()) {
    mutex_.unlock_shared();
  }

 private:
  std::shared_mutex mutex_;
};

class MODELD_THREAD_ANNOTATION(scoped_lockable) ExclusiveLock {
 public:
  explicit ExclusiveLock(SharedMutex& mutex) MODELD_THREAD_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.Lock();
  }
  ~ExclusiveLock() MODELD_THREAD_ANNOTATION(release_capability()) { mutex_.Unlock(); }
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class MODELD_THREAD_ANNOTATION(scoped_lockable) SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex) MODELD_THREAD_ANNOTATION(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.LockShared();
  }
  ~SharedLock() MODELD_THREAD_ANNOTATION(release_capability()) { mutex_.UnlockShared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& mutex_;
};

}  // namespace fake_cudart
