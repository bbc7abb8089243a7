// A real modeld, with its parser and agent, in a directory of its own.
//
//   test::DaemonFixture daemon({.host_capacity = "256MiB"});
//   test::WriteCheckpoint(daemon.root() + "/m.safetensors", test::SmallSpec());
//   auto client = modeld::Client::Connect(daemon.endpoint());

#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/child_process.h"
#include "support/temp_dir.h"

namespace modeld::test {

struct DaemonOptions {
  std::string host_capacity = "1GiB";
  // Besides the fixture's own root().
  std::vector<std::string> roots = {};
  // Lines of its modeld.toml.
  std::string config = {};
  // With a state directory, state_dir().
  bool keep_state = false;
  // More flags, and more environment (NAME=value).
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};
  // Runs the daemon through this program (`/usr/bin/env`, with args before it): for wrappers.
  // Empty: directly.
  std::vector<std::string> wrapper = {};
};

// Starts the daemon, and ends everything that it started. Every daemon of one fixture has the same
// runtime directory and root. Externally synchronised.
class DaemonFixture {
 public:
  // Starts and waits until it says READY=1. A daemon that does not is a failure of the test, with
  // its log; running() is then false.
  explicit DaemonFixture(DaemonOptions options = {});
  // Stops the daemon (SIGTERM) if it runs; whatever then still runs out of its directory is killed,
  // by pid, and is a failure of the test unless ExpectOrphans was called.
  ~DaemonFixture();
  DaemonFixture(const DaemonFixture&) = delete;
  DaemonFixture& operator=(const DaemonFixture&) = delete;

  bool running() const { return process_.valid(); }
  pid_t pid() const { return process_.pid(); }
  // Of the agent of a device that runs now, child of this daemon or not; 0 if there is none.
  pid_t agent_pid(const std::string& device = "host") const;

  const std::string& directory() const { return dir_.path(); }
  std::string runtime_dir() const { return dir_ / "r"; }
  std::string state_dir() const { return dir_ / "s"; }
  // An empty directory that is a root.
  std::string root() const { return dir_ / "m"; }
  std::string socket(const std::string& name = "modeld.sock") const {
    return runtime_dir() + "/" + name;
  }
  // `unix:///.../modeld.sock`
  std::string endpoint() const { return "unix://" + socket(); }
  // What the daemons and agents of this fixture wrote to stderr so far.
  std::string log() const;

  // Starts another daemon in the same directory and waits until it is ready. REQUIRES: !running()
  void Start();
  // SIGTERM, then waits. nullopt (and a failure of the test) if it did not end in time.
  std::optional<base::ExitStatus> Stop();
  // Sends it to the daemon and waits for the end.
  std::optional<base::ExitStatus> Kill(int signal);
  // Only sends it.
  void Signal(int signal) { process_.Kill(signal); }
  // Waits for an end that somebody else brought about.
  std::optional<base::ExitStatus> Wait();
  // kill -9 for the agent of a device, and waits until it is gone. Its pid.
  pid_t KillAgent(const std::string& device = "host");

  // Waits until the daemon tells its service manager something that holds `text` (`WATCHDOG=1`);
  // false when it ends first.
  bool WaitForNotification(const std::string& text);

  // Processes that run out of this directory, the daemon not among them.
  std::vector<std::string> Leftovers() const;
  // The test leaves agents without a daemon on purpose.
  void ExpectOrphans() { expect_orphans_ = true; }

 private:
  class NotifySocket;

  void KillLeftovers();

  const DaemonOptions options_;
  TempDir dir_;
  std::unique_ptr<NotifySocket> notify_;
  base::ChildProcess process_;
  bool expect_orphans_ = false;
};

// Runs modeld with these arguments until it ends; for start-ups that fail, and for --help and the
// like.
struct RunResult {
  base::ExitStatus exit;
  std::string out;
  std::string err;
};
RunResult RunModeld(const std::vector<std::string>& args, const std::vector<std::string>& env = {});

// The directory of the built programs, or $MODELD_TEST_BIN_DIR.
std::string BinDir();
// A program of the tests: `name` in $MODELD_TEST_PROGRAM_DIR if that is set, else as it was built.
std::string TestProgram(const std::string& name, const std::string& built);

}  // namespace modeld::test
