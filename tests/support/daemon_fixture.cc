#include "support/daemon_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "support/processes.h"
#include "support/read_file.h"

namespace modeld::test {
namespace {

// Sanitizers on a busy machine are slow; nothing waits this long that works.
constexpr std::chrono::seconds kDaemonLimit(60);

wire::UniqueFd OpenLog(const std::string& path) {
  return wire::UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

}  // namespace

// The service manager's end of NOTIFY_SOCKET.
class DaemonFixture::NotifySocket {
 public:
  explicit NotifySocket(const std::string& path)
      : path_(path), fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    ::unlink(path_.c_str());
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)), 0);
  }
  ~NotifySocket() { ::unlink(path_.c_str()); }

  // Waits for a message with this text; false when the process ends first, or the time.
  bool WaitFor(const std::string& wanted, int pidfd) const {
    const auto deadline = std::chrono::steady_clock::now() + kDaemonLimit;
    while (std::chrono::steady_clock::now() < deadline) {
      struct pollfd fds[] = {{fd_.get(), POLLIN, 0}, {pidfd, POLLIN, 0}};
      ::poll(fds, 2, 1000);
      char text[1024];
      for (ssize_t count; (count = ::recv(fd_.get(), text, sizeof(text), 0)) > 0;) {
        if (std::string(text, static_cast<size_t>(count)).find(wanted) != std::string::npos) {
          return true;
        }
      }
      if ((fds[1].revents & POLLIN) != 0) return false;
    }
    return false;
  }

 private:
  const std::string path_;
  const wire::UniqueFd fd_;
};

DaemonFixture::DaemonFixture(DaemonOptions options) : options_(std::move(options)) {
  dir_.Mkdir("m");
  dir_.Write("c.toml", options_.config);
  notify_ = std::make_unique<NotifySocket>(dir_ / "n");
  Start();
}

DaemonFixture::~DaemonFixture() {
  if (running()) {
    const auto exit = Stop();
    EXPECT_TRUE(exit && exit->ok()) << "modeld " << (exit ? exit->Text() : "hangs");
  }
  EXPECT_EQ(log().find("Sanitizer:"), std::string::npos) << "a sanitizer found something";
  if (!expect_orphans_) {
    const bool gone = Eventually([&] { return Leftovers().empty(); });
    EXPECT_TRUE(gone) << "left behind: " << ::testing::PrintToString(Leftovers());
  }
  KillLeftovers();
  if (::testing::Test::HasFailure()) std::cerr << "---- modeld's log:\n" << log() << "----\n";
}

void DaemonFixture::Start() {
  ASSERT_FALSE(running());
  std::vector<std::string> command = options_.wrapper;
  command.push_back(BinDir() + "/modeld");
  for (const std::string& arg :
       std::vector<std::string>{"--config", dir_ / "c.toml", "--runtime-dir", runtime_dir(),
                                "--root", root(), "--host-capacity", options_.host_capacity}) {
    command.push_back(arg);
  }
  if (options_.keep_state) command.insert(command.end(), {"--state-dir", state_dir()});
  for (const std::string& path : options_.roots) {
    command.push_back("--root");
    command.push_back(path);
  }
  command.insert(command.end(), options_.args.begin(), options_.args.end());

  const wire::UniqueFd log_file = OpenLog(dir_ / "log");
  base::ChildProcess::Options spawn;
  spawn.path = command.front();
  spawn.args.assign(command.begin() + 1, command.end());
  spawn.env = options_.env;
  spawn.env.push_back("NOTIFY_SOCKET=" + (dir_ / "n"));
  spawn.fds = {{log_file.get(), STDOUT_FILENO}, {log_file.get(), STDERR_FILENO}};
  auto process = base::ChildProcess::Spawn(spawn);
  ASSERT_TRUE(process.ok()) << process.status();
  process_ = *std::move(process);
  if (notify_->WaitFor("READY=1", process_.pidfd())) return;

  process_.Kill(SIGKILL);
  process_.Wait();
  process_ = {};
  ADD_FAILURE() << "modeld did not become ready\n" << log();
}

std::optional<base::ExitStatus> DaemonFixture::Stop() { return Kill(SIGTERM); }

std::optional<base::ExitStatus> DaemonFixture::Kill(int signal) {
  if (!running()) return std::nullopt;
  process_.Kill(signal);
  return Wait();
}

std::optional<base::ExitStatus> DaemonFixture::Wait() {
  if (!running()) return std::nullopt;
  const auto exit = process_.Wait(base::SystemClock().Now() + kDaemonLimit);
  EXPECT_TRUE(exit.has_value()) << "modeld did not end in time";
  process_ = {};  // kills one that still runs
  return exit;
}

pid_t DaemonFixture::agent_pid(const std::string& device) const {
  for (const ProcessInfo& process : ProcessesWith(socket("agent-" + device + ".sock"))) {
    if (process.pid != pid()) return process.pid;
  }
  return 0;
}

pid_t DaemonFixture::KillAgent(const std::string& device) {
  const pid_t agent = agent_pid(device);
  EXPECT_NE(agent, 0) << "there is no agent of " << device;
  if (agent == 0) return 0;
  ::kill(agent, SIGKILL);
  EXPECT_TRUE(Eventually([&] { return agent_pid(device) != agent; }));
  return agent;
}

bool DaemonFixture::WaitForNotification(const std::string& text) {
  return running() && notify_->WaitFor(text, process_.pidfd());
}

std::vector<std::string> DaemonFixture::Leftovers() const {
  std::vector<std::string> left;
  for (const ProcessInfo& process : ProcessesWith(dir_.path() + "/")) {
    if (process.pid == pid() || process.pid == ::getpid()) continue;
    left.push_back(std::to_string(process.pid) + " " + process.command_line);
  }
  return left;
}

void DaemonFixture::KillLeftovers() {
  for (const ProcessInfo& process : ProcessesWith(dir_.path() + "/")) {
    if (process.pid != ::getpid()) ::kill(process.pid, SIGKILL);
  }
  EXPECT_TRUE(Eventually([&] { return Leftovers().empty(); }));
}

std::string DaemonFixture::log() const { return ReadFile(dir_ / "log"); }

RunResult RunModeld(const std::vector<std::string>& args, const std::vector<std::string>& env) {
  const TempDir dir;
  const wire::UniqueFd out = OpenLog(dir / "out");
  const wire::UniqueFd err = OpenLog(dir / "err");
  base::ChildProcess::Options spawn;
  spawn.path = BinDir() + "/modeld";
  spawn.args = args;
  spawn.env = env;
  spawn.fds = {{out.get(), STDOUT_FILENO}, {err.get(), STDERR_FILENO}};
  auto process = base::ChildProcess::Spawn(spawn);
  EXPECT_TRUE(process.ok()) << process.status();
  RunResult result;
  if (!process.ok()) return result;
  const auto exit = process->Wait(base::SystemClock().Now() + kDaemonLimit);
  EXPECT_TRUE(exit.has_value()) << "modeld did not end in time";
  if (exit) result.exit = *exit;
  result.out = ReadFile(dir / "out");
  result.err = ReadFile(dir / "err");
  return result;
}

std::string BinDir() {
  const char* const directory = std::getenv("MODELD_TEST_BIN_DIR");
  return directory != nullptr ? directory : MODELD_BIN_DIR;
}

std::string TestProgram(const std::string& name, const std::string& built) {
  const char* const directory = std::getenv("MODELD_TEST_PROGRAM_DIR");
  return directory != nullptr ? std::string(directory) + "/" + name : built;
}

}  // namespace modeld::test
