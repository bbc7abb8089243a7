#include "state_notifier.h"

#include <utility>

namespace modeld::client {

void StateNotifier::Add(Callback callback) {
  auto shared = std::make_shared<const Callback>(std::move(callback));
  wire::MutexLock lock(mutex_);
  if (!closed_) callbacks_.push_back(std::move(shared));
}

void StateNotifier::Push(Model::State state) {
  wire::MutexLock lock(mutex_);
  if (!closed_ && !callbacks_.empty()) states_.push_back(state);
}

void StateNotifier::Deliver() {
  for (bool first = true;; first = false) {
    std::vector<std::shared_ptr<const Callback>> callbacks;
    Model::State state;
    {
      wire::MutexLock lock(mutex_);
      if (first && delivering_) return;
      delivering_ = !states_.empty();
      if (!delivering_) return;
      state = states_.front();
      states_.pop_front();
      callbacks = callbacks_;
    }
    for (const auto& callback : callbacks) {
      {
        wire::MutexLock lock(mutex_);
        if (closed_) break;
      }
      (*callback)(state);
    }
  }
}

void StateNotifier::Close() {
  std::vector<std::shared_ptr<const Callback>> dropped;  // what they own goes outside of the lock
  wire::MutexLock lock(mutex_);
  closed_ = true;
  states_.clear();
  dropped.swap(callbacks_);
}

}  // namespace modeld::client
