// Signals as something to wait for: no handler runs, no work is done in one.

#pragma once

#include <optional>

#include "base/clock.h"
#include "wire/unique_fd.h"

namespace modeld::app {

// SIGTERM, SIGINT and SIGHUP ask the daemon to stop; SIGPIPE is ignored. Blocked for the calling
// thread and those that it starts from then on: make it in main, before any thread.
class StopSignals {
 public:
  StopSignals();

  // The next one that came; nullopt at the deadline, or after a Wake. From one thread.
  std::optional<int> Wait(std::optional<base::TimePoint> deadline = std::nullopt);

  // Ends the Wait that is under way, or the next one. Thread-safe.
  void Wake();

 private:
  const wire::UniqueFd signals_;
  const wire::UniqueFd wakes_;
};

}  // namespace modeld::app
