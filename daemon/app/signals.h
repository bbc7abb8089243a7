// Signals as something to wait for: no handler runs, no work is done in one.

#pragma once

#include <optional>

#include "base/clock.h"
#include "wire/unique_fd.h"

namespace modeld::app {

// What somebody asks of the daemon.
enum class Request {
  kStop,      // SIGTERM, SIGINT; SIGHUP of a terminal that went away
  kReload,    // SIGHUP that a process sent: read the configuration again
  kHandOver,  // SIGUSR2: end now, and leave the agents and what they hold to the next modeld
};

// SIGPIPE is ignored. The others are blocked for the calling thread and those that it starts from
// then on: make it in main, before any thread.
class Signals {
 public:
  Signals();

  struct Received {
    Request request = Request::kStop;
    int signal = 0;

    bool operator==(const Received&) const = default;
  };

  // The next one that came; nullopt at the deadline, or after a Wake. From one thread.
  std::optional<Received> Wait(std::optional<base::TimePoint> deadline = std::nullopt);

  // Ends the Wait that is under way, or the next one. Thread-safe.
  void Wake();

 private:
  const wire::UniqueFd signals_;
  const wire::UniqueFd wakes_;
};

}  // namespace modeld::app
