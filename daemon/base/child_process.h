// Starting programs from a process with many threads, and waiting for them without signals.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "wire/unique_fd.h"

namespace modeld::base {

// How a process ended.
struct ExitStatus {
  bool signaled = false;
  int value = 0;  // exit code, or the signal's number

  bool ok() const { return !signaled && value == 0; }
  // `exited with code 3`, `killed by signal 9 (Killed)`
  std::string Text() const;

  bool operator==(const ExitStatus&) const = default;
};

// A child process, known by its pidfd from birth: no other process that gets its pid can be meant
// by mistake.
//
// The destructor kills (SIGKILL) and reaps a child that has not been waited for; Detach() gives it
// up alive. Move-only. Kill, pid and pidfd may be called from any thread; the rest is externally
// synchronised.
class ChildProcess {
 public:
  struct Options {
    std::string path;               // the program, no PATH search; also argv[0]
    std::vector<std::string> args;  // argv[1] and on
    // NAME=value, each in place of the parent's variable of that name. All others are inherited.
    std::vector<std::string> env;
    // (descriptor here, number there), in any order. The child gets these, stdout and stderr; stdin
    // is /dev/null unless named here; every other descriptor is closed, also one without CLOEXEC.
    std::vector<std::pair<int, int>> fds;
    // Its own session: no terminal, and no signal that is meant for the parent's group.
    bool new_session = false;
    // Signal that the child gets when the *thread* that spawned it ends; 0: none. Only for threads
    // that outlive the child.
    int parent_death_signal = 0;
  };

  // Starts the program. Only async-signal-safe calls run between clone and exec, no atfork handler
  // runs, and nothing is copied (vfork semantics). Signal handlers and the mask are reset to the
  // defaults in the child. What keeps exec from succeeding is told here: NOT_FOUND,
  // PERMISSION_DENIED or UNAVAILABLE, naming the path.
  static absl::StatusOr<ChildProcess> Spawn(const Options& options);

  ChildProcess() = default;
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  bool valid() const { return pidfd_.valid(); }
  pid_t pid() const { return pid_; }
  // Readable once the child has ended: for poll.
  int pidfd() const { return pidfd_.get(); }

  // No effect on a child that has ended.
  void Kill(int signal) const;

  // Waits for the end and reaps; nullopt when `deadline` comes first. Later calls give the same
  // answer at once. REQUIRES: valid()
  std::optional<ExitStatus> Wait(std::optional<TimePoint> deadline = std::nullopt);

  // Gives the child up: it runs on, and stays a zombie after its end until this process ends.
  void Detach();

 private:
  ChildProcess(pid_t pid, wire::UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  void KillAndReap();

  pid_t pid_ = 0;
  wire::UniqueFd pidfd_;
  std::optional<ExitStatus> exit_;
};

// The full path of one of modeld's own programs (`modeld-parser`): in `directory` if that is not
// empty, else in $MODELD_LIBEXEC_DIR if that is set, else beside this program or in
// ../libexec/modeld from there. NOT_FOUND names what was tried.
absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& directory = {});

}  // namespace modeld::base
