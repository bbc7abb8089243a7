// Tells a Model's users of its changes of state, in order.

#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "modeld/model.h"
#include "wire/mutex.h"

namespace modeld::client {

// Pushing is apart from delivering, so that changes can be put in order under a lock and told
// outside of it. Thread-safe.
class StateNotifier {
 public:
  using Callback = std::function<void(Model::State)>;

  void Add(Callback callback);
  // Calls nobody.
  void Push(Model::State state);
  // Tells what was pushed. One thread at a time does; another that comes meanwhile leaves its
  // states to that one.
  void Deliver();
  // Nobody is called any more, but for a call that is running.
  void Close();

 private:
  wire::Mutex mutex_;
  std::vector<std::shared_ptr<const Callback>> callbacks_ MODELD_GUARDED_BY(mutex_);
  std::deque<Model::State> states_ MODELD_GUARDED_BY(mutex_);
  bool delivering_ MODELD_GUARDED_BY(mutex_) = false;
  bool closed_ MODELD_GUARDED_BY(mutex_) = false;
};

}  // namespace modeld::client
