#include "agent/agent_server.h"

#include <errno.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/log_line.h"
#include "wire/framed_socket.h"

namespace modeld::agent {
namespace {

// When descriptors are short the backlog stays readable: look again a little later.
constexpr auto kRest = std::chrono::milliseconds(100);

bool MayConnect(int fd) {
  const auto peer = wire::GetPeerCredentials(fd);
  if (peer.ok() && (peer->uid == 0 || peer->uid == ::geteuid())) return true;
  spdlog::warn("msg=\"refused a connection\" pid={} uid={}", peer.ok() ? peer->pid : -1,
               peer.ok() ? static_cast<int64_t>(peer->uid) : -1);
  return false;
}

}  // namespace

AgentServer::AgentServer(base::UnixListener listener, Agent& agent, int stop_fd,
                         base::Duration grace)
    : listener_(std::move(listener)),
      agent_(agent),
      stop_fd_(stop_fd),
      grace_(grace),
      alone_since_(base::SystemClock().Now()) {}

AgentServer::~AgentServer() {
  if (connection_.socket != nullptr) agent_.Disconnected(connection_.channel);
}

absl::Status AgentServer::Run() {
  while (true) {
    int timeout_ms = -1;
    if (connection_.socket == nullptr) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(alone_since_ + grace_ -
                                                                     base::SystemClock().Now());
      if (left.count() <= 0) {
        spdlog::info("msg=\"nobody connected for the grace period; freeing everything\"");
        return absl::OkStatus();
      }
      timeout_ms = static_cast<int>(std::min<int64_t>(left.count(), 60'000));
    }
    pollfd fds[] = {{stop_fd_, POLLIN, 0},
                    {listener_.fd(), POLLIN, 0},
                    {connection_.socket != nullptr ? connection_.socket->fd() : -1, POLLIN, 0}};
    if (::poll(fds, std::size(fds), timeout_ms) < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, "poll");
    }
    if (fds[0].revents != 0) {
      spdlog::info("msg=\"told to stop\"");
      return absl::OkStatus();
    }
    if (fds[2].revents != 0) ReadAll();
    if (fds[1].revents != 0) AcceptAll();
  }
}

void AgentServer::AcceptAll() {
  while (true) {
    auto accepted = listener_.Accept();
    if (!accepted.ok()) {
      spdlog::error("msg=\"cannot accept\" error={}",
                    base::QuotedLogValue(std::string(accepted.status().message())));
      pollfd stop = {stop_fd_, POLLIN, 0};
      ::poll(&stop, 1, static_cast<int>(kRest.count()));
      return;
    }
    if (!accepted->has_value()) return;
    if (!MayConnect((*accepted)->get())) continue;
    auto socket = std::make_shared<wire::FramedSocket>(std::move(**accepted));
    auto channel = std::make_shared<EventChannel>(socket);
    agent_.Connected(channel);
    connection_ = {std::move(socket), std::move(channel)};
  }
}

void AgentServer::ReadAll() {
  while (connection_.socket != nullptr) {
    auto frame = connection_.socket->TryReceive();
    if (!frame.ok()) return HangUp(frame.status());
    if (!frame->has_value()) return;
    if (auto status = agent_.Handle(connection_.channel, **std::move(frame)); !status.ok()) {
      return HangUp(status);
    }
  }
}

void AgentServer::HangUp(const absl::Status& why) {
  spdlog::info("msg=\"modeld is gone\" why={}", base::QuotedLogValue(std::string(why.message())));
  agent_.Disconnected(connection_.channel);
  connection_ = {};
  alone_since_ = base::SystemClock().Now();
}

}  // namespace modeld::agent
