// The agent's socket: who may speak to it, one at a time, and when nobody does any more.

#pragma once

#include <memory>

#include "absl/status/status.h"
#include "agent/agent.h"
#include "base/clock.h"
#include "base/unix_listener.h"

namespace modeld::agent {

// Runs on one thread. A peer must be root or of the agent's own user; a new connection replaces the
// one before.
class AgentServer {
 public:
  // `stop_fd` becomes readable when it is time to end. Borrows `agent`.
  AgentServer(base::UnixListener listener, Agent& agent, int stop_fd, base::Duration grace);
  ~AgentServer();

  // Serves until stop_fd is readable, or until nobody has been connected for the grace period.
  absl::Status Run();

 private:
  struct Connection {
    std::shared_ptr<wire::FramedSocket> socket;
    std::shared_ptr<EventChannel> channel;
  };

  void AcceptAll();
  void ReadAll();
  void HangUp(const absl::Status& why);

  base::UnixListener listener_;
  Agent& agent_;
  const int stop_fd_;
  const base::Duration grace_;
  Connection connection_;
  base::TimePoint alone_since_;
};

}  // namespace modeld::agent
