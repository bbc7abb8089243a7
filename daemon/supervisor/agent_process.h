// The agent's process: found by its socket or started, watched by a pidfd, ended.

#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/child_process.h"
#include "base/clock.h"
#include "wire/unique_fd.h"

namespace modeld::supervisor {

// An agent may be this process' child, or older than it. Externally synchronised. Waiting ends at
// once when `stop_fd` becomes readable.
class AgentProcess {
 public:
  struct Options {
    std::string program;            // name, as base::FindProgram takes it
    std::string program_directory;  // empty: found beside this program
    std::string socket_path;
    std::vector<std::string> arguments;    // besides --socket
    std::vector<std::string> environment;  // NAME=value, besides this process'
    base::Duration start_timeout = std::chrono::seconds(10);
  };

  // `stop_fd` is borrowed.
  AgentProcess(Options options, int stop_fd) : options_(std::move(options)), stop_fd_(stop_fd) {}
  // Leaves the agent running.
  ~AgentProcess();

  // A connection to the agent that listens, or to one that is started for it. An own child that
  // runs but does not listen is killed first. UNAVAILABLE says what happened and what to do;
  // CANCELLED when told to stop.
  absl::StatusOr<wire::UniqueFd> Reach();

  // `killed by signal 9 (Killed)`; empty when it runs (or nothing is known) after `patience`: a
  // process' sockets close a moment before it can be waited for.
  std::string HowItEnded(base::Duration patience);

  // SIGTERM, then SIGKILL after `patience`, and waits for the end. True if it is gone.
  bool Terminate(base::Duration patience);

  pid_t pid() const { return pid_; }
  int starts() const { return starts_; }

 private:
  absl::StatusOr<wire::UniqueFd> Connect();
  absl::Status Spawn();
  // True when told to stop within that time.
  bool Rest(base::Duration duration) const;
  bool WaitForEnd(base::Duration patience) const;

  const Options options_;
  const int stop_fd_;
  base::ChildProcess child_;  // not valid: the agent is somebody else's, or there is none
  wire::UniqueFd pidfd_;      // of whoever listens
  pid_t pid_ = 0;
  int starts_ = 0;
};

}  // namespace modeld::supervisor
