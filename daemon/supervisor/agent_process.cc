#include "supervisor/agent_process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/error.h"
#include "wire/framed_socket.h"

namespace modeld::supervisor {
namespace {

constexpr auto kConnectInterval = std::chrono::milliseconds(2);

int Milliseconds(base::Duration duration) {
  const auto value = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return static_cast<int>(std::clamp<int64_t>(value, 0, 60'000));
}

bool IsReadable(int fd, base::Duration patience) {
  pollfd poll_fd = {fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, Milliseconds(patience)) > 0;
}

}  // namespace

AgentProcess::~AgentProcess() {
  if (child_.valid()) child_.Detach();
}

absl::StatusOr<wire::UniqueFd> AgentProcess::Reach() {
  auto connection = Connect();
  if (connection.ok() || !absl::IsUnavailable(connection.status())) return connection;
  if (absl::Status status = Spawn(); !status.ok()) return status;
  const base::TimePoint deadline = base::SystemClock().Now() + options_.start_timeout;
  while (true) {
    connection = Connect();
    if (connection.ok() || !absl::IsUnavailable(connection.status())) return connection;
    if (const std::string end = HowItEnded({}); !end.empty()) {
      return absl::UnavailableError(absl::StrCat(options_.program, " ", end, " before it served ",
                                                 options_.socket_path,
                                                 ": its own lines in this log say why"));
    }
    if (base::SystemClock().Now() >= deadline) {
      return absl::UnavailableError(absl::StrCat(options_.program, " (process ", pid_,
                                                 ") does not serve ", options_.socket_path,
                                                 ": look at what it does, or kill it"));
    }
    if (Rest(kConnectInterval)) return absl::CancelledError("stopping");
  }
}

absl::StatusOr<wire::UniqueFd> AgentProcess::Connect() {
  auto connection = wire::ConnectUnix(options_.socket_path);
  if (!connection.ok()) return connection;
  const auto peer = wire::GetPeerCredentials(connection->get());
  if (!peer.ok()) return peer.status();
  if (peer->uid != 0 && peer->uid != ::geteuid()) {
    return absl::PermissionDeniedError(absl::StrCat(
        options_.socket_path, " is served by process ", peer->pid, " of user ", peer->uid,
        ", which is not modeld's: stop it, or use another runtime directory"));
  }
  if (!child_.valid() || child_.pid() != peer->pid) {
    child_ = base::ChildProcess();
    pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, peer->pid, 0)));
    pid_ = peer->pid;
  }
  return connection;
}

absl::Status AgentProcess::Spawn() {
  // The destructor of a child that is alive and mute kills it.
  child_ = base::ChildProcess();
  pidfd_.reset();
  pid_ = 0;
  auto program = base::FindProgram(options_.program, options_.program_directory);
  if (!program.ok()) {
    return absl::UnavailableError(
        absl::StrCat(std::string(program.status().message()),
                     "; install all of modeld's programs from one build"));
  }
  base::ChildProcess::Options spawn;
  spawn.path = *program;
  spawn.args = {"--socket", options_.socket_path};
  spawn.args.insert(spawn.args.end(), options_.arguments.begin(), options_.arguments.end());
  spawn.env = options_.environment;
  spawn.new_session = true;
  auto child = base::ChildProcess::Spawn(spawn);
  if (!child.ok()) return absl::UnavailableError(std::string(child.status().message()));
  child_ = *std::move(child);
  pid_ = child_.pid();
  ++starts_;
  return absl::OkStatus();
}

std::string AgentProcess::HowItEnded(base::Duration patience) {
  if (child_.valid()) {
    const auto exit = child_.Wait(base::SystemClock().Now() + patience);
    return exit ? exit->Text() : "";
  }
  return WaitForEnd(patience) ? "ended" : "";
}

bool AgentProcess::WaitForEnd(base::Duration patience) const {
  return pidfd_.valid() && IsReadable(pidfd_.get(), patience);
}

bool AgentProcess::Terminate(base::Duration patience) {
  if (child_.valid()) {
    child_.Kill(SIGTERM);
    if (child_.Wait(base::SystemClock().Now() + patience)) return true;
    child_.Kill(SIGKILL);
    return child_.Wait(base::SystemClock().Now() + patience).has_value();
  }
  if (!pidfd_.valid()) return true;
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGTERM, nullptr, 0);
  if (WaitForEnd(patience)) return true;
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  return WaitForEnd(patience);
}

bool AgentProcess::Rest(base::Duration duration) const { return IsReadable(stop_fd_, duration); }

}  // namespace modeld::supervisor
