// Tasks one after another, on whichever thread comes first.

#pragma once

#include <deque>

#include "base/executor.h"
#include "wire/mutex.h"

namespace modeld::base {

// What runs on a strand is never run by two threads at once, sees the effects of everything run
// before it, and runs in the order of Post. A caller that finds the strand idle runs its task
// itself, with no thread hop, and then those that were posted meanwhile; a caller that finds it
// busy leaves its task to the thread that is there.
//
// So state that only a strand touches needs no lock, and may call out: nothing is held. A task that
// posts to its own strand is run after the current one, not inside it. Tasks must be short and
// never wait.
//
// Thread-safe. REQUIRES: outlives every Post.
class Strand : public Executor {
 public:
  void Post(Task task) override;

 private:
  wire::Mutex mutex_;
  std::deque<Task> tasks_ MODELD_GUARDED_BY(mutex_);
  bool running_ MODELD_GUARDED_BY(mutex_) = false;
};

}  // namespace modeld::base
