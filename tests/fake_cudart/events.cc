#include "fake_cudart/events.h"

#include <iterator>
#include <utility>

namespace fake_cudart {

Events& Events::Get() {
  static Events& events = *new Events;
  return events;
}

cudaEvent_t Events::Create(int device, bool timing) {
  MutexLock lock(mutex_);
  next_handle_ += 0x10;
  auto* handle = reinterpret_cast<cudaEvent_t>(next_handle_);
  events_[handle] = {device, timing, nullptr};
  return handle;
}

bool Events::Destroy(cudaEvent_t handle) {
  MutexLock lock(mutex_);
  return events_.erase(handle) > 0;
}

std::unique_ptr<Event> Events::Find(cudaEvent_t handle) {
  MutexLock lock(mutex_);
  const auto found = events_.find(handle);
  return found == events_.end() ? nullptr : std::make_unique<Event>(found->second);
}

void Events::SetRecorded(cudaEvent_t handle, std::shared_ptr<Completion> recorded) {
  MutexLock lock(mutex_);
  const auto found = events_.find(handle);
  if (found != events_.end()) found->second.recorded = std::move(recorded);
}

void Events::Forget(int device) {
  MutexLock lock(mutex_);
  for (auto it = events_.begin(); it != events_.end();) {
    it = it->second.device == device ? events_.erase(it) : std::next(it);
  }
}

}  // namespace fake_cudart
