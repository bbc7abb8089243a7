// A worker in a process of its own, linked against libmodeld: worker.cc here, or a program like it.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/child_process.h"
#include "wire/unique_fd.h"

namespace modeld::test {

// Externally synchronised. Killed by the destructor.
class WorkerProcess {
 public:
  // Starts it; a worker that cannot be started fails the test. `env`: NAME=value. `program`: empty
  // for that of worker.cc.
  explicit WorkerProcess(const std::string& endpoint, const std::vector<std::string>& env = {},
                         const std::string& program = {});
  WorkerProcess(WorkerProcess&&) = default;
  WorkerProcess& operator=(WorkerProcess&&) = default;

  pid_t pid() const { return process_.pid(); }

  // Sends a line (the program's source lists them).
  void Send(const std::string& line);
  // Waits for an answer; empty when the worker is gone, or silent for a minute.
  std::string Receive();
  std::string Ask(const std::string& line) {
    Send(line);
    return Receive();
  }

  // kill -9, and waits until it is reaped.
  void Kill();
  // Ends its input and waits. nullopt, and a failure of the test, when it does not end.
  std::optional<base::ExitStatus> Finish();
  std::optional<base::ExitStatus> Wait();

 private:
  base::ChildProcess process_;
  wire::UniqueFd input_;
  wire::UniqueFd output_;
  std::string pending_;
};

}  // namespace modeld::test
