// One connection to one modeld: two sockets that live and die together.

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "attach_channel.h"
#include "deadline.h"
#include "endpoint.h"
#include "fork_guard.h"
#include "modeld/v1/residency_service.grpc.pb.h"

namespace modeld::client {

// Immutable; thread-safe. It never mends itself: once broken, every call on it fails with
// UNAVAILABLE, and a new one is to be opened. The channel is made from a socket of our own, because
// gRPC's reconnecting takes seconds.
//
// Destroyed in a forked child it leaves gRPC's objects where they are.
class Connection {
 public:
  // Connects, waits for modeld's Welcome (at most ten seconds) and makes the channel. Errors as in
  // Client::Connect; `refused` as in AttachChannel::Introduce.
  static absl::StatusOr<std::shared_ptr<Connection>> Open(const Endpoint& endpoint, bool* refused);
  ~Connection();

  v1::ResidencyService::Stub& stub() { return *grpc_->stub; }
  AttachChannel& attach() { return *attach_; }
  const std::string& session_id() const { return attach_->session_id(); }
  bool IsBroken() const { return attach_->IsBroken(); }

 private:
  struct Grpc {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::ResidencyService::Stub> stub;
  };
  struct Guards {
    Guards(int calls_fd, int attach_fd) : calls(calls_fd), attach(attach_fd) {}
    SocketGuard calls;
    SocketGuard attach;
  };

  Connection() = default;

  const uint64_t fork_generation_ = ForkGeneration();
  std::unique_ptr<Guards> guards_;
  std::unique_ptr<AttachChannel> attach_;
  std::unique_ptr<Grpc> grpc_;
};

// Has a connection been opened in the process that this one was forked from? Then gRPC cannot be
// used in it.
bool ForkedAfterGrpcStarted();

}  // namespace modeld::client
