// Events: marks in a stream that others can wait for.

#pragma once

#include <map>
#include <memory>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/mutex.h"
#include "fake_cudart/streams.h"

namespace fake_cudart {

struct Event {
  int device = 0;
  bool timing = true;
  std::shared_ptr<Completion> recorded;  // null until it was recorded
};

// The process' events by handle. Thread-safe.
class Events {
 public:
  static Events& Get();

  cudaEvent_t Create(int device, bool timing);
  bool Destroy(cudaEvent_t handle);
  // A copy as it is now; null for what is no event.
  std::unique_ptr<Event> Find(cudaEvent_t handle);
  void SetRecorded(cudaEvent_t handle, std::shared_ptr<Completion> recorded);
  void Forget(int device);

 private:
  Mutex mutex_;
  uintptr_t next_handle_ MODELD_GUARDED_BY(mutex_) = 0xe000;
  std::map<cudaEvent_t, Event> events_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace fake_cudart
