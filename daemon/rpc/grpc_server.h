// A gRPC server behind a socket of our own: the only place that knows gRPC's experimental way to
// give it connections.

#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/unix_listener.h"
#include "rpc/call_timer.h"
#include "rpc/connection_table.h"
#include "rpc/log_throttle.h"
#include "rpc/peer_listener.h"
#include "rpc/peer_policy.h"

namespace modeld::rpc {

struct GrpcServerOptions {
  PeerPolicy policy;
  uint64_t kept_fds = 0;  // as PeerListener has it
  size_t max_connections = 4096;
  bool reflection = false;
  CallObserver on_call;  // may be empty
};

// Owns the socket, the server and their threads. A peer that the policy refuses is closed before
// gRPC reads a byte of it. grpc.health.v1 says NOT_SERVING until it is told otherwise.
class GrpcServer {
 public:
  // Serves at once. The services and the clock outlive the server. INTERNAL when gRPC refuses.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      base::UnixListener listener, const GrpcServerOptions& options,
      const std::vector<grpc::Service*>& services, const base::Clock& clock);
  // Shutdown().
  ~GrpcServer();

  void SetServing(bool serving);

  // For those who connect from now on.
  void SetPolicy(const PeerPolicy& policy) { listener_->SetPolicy(policy); }

  // Nobody new. Calls and connections go on. Idempotent.
  void StopAccepting();

  // Ends every call with CANCELLED, but for those that finish at once, and waits until all are
  // over. Idempotent.
  void Shutdown();

 private:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

  GrpcServer(const GrpcServerOptions& options, const base::Clock& clock)
      : connections_(options.max_connections, clock), full_log_(clock) {}

  // On the listener's thread.
  void HandOver(wire::UniqueFd fd, const wire::PeerCredentials& peer);

  ConnectionTable connections_;
  LogThrottle full_log_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<PeerListener> listener_;
  bool shut_down_ = false;
};

}  // namespace modeld::rpc
