#include "rpc/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <limits>
#include <utility>

#include "rpc/reflection.h"

namespace modeld::rpc {
namespace {

// A reference, a scope and some names: nothing that a client asks is larger.
constexpr int kMaxMessageBytes = 64 << 10;
// A process may hold a thousand leases and wait for a thousand more.
constexpr int kMaxStreamsPerConnection = 16 << 10;
constexpr int kHandshakeMilliseconds = 10'000;
// For calls that are about to finish by themselves.
constexpr std::chrono::milliseconds kGrace{50};
// Only reflection uses threads of its own; the services use callbacks.
constexpr int kMaxThreads = 4;

void SetLimits(grpc::ServerBuilder& builder) {
  grpc::ResourceQuota quota("modeld");
  quota.SetMaxThreads(kMaxThreads);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(-1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMilliseconds);
  // A client that a debugger has stopped answers no ping, and keeps its leases.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, std::numeric_limits<int>::max());
  // Pings to measure a bandwidth that a Unix socket does not have.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    base::UnixListener listener, const GrpcServerOptions& options,
    const std::vector<grpc::Service*>& services, const base::Clock& clock) {
  const std::string path = listener.path();
  std::unique_ptr<GrpcServer> result(new GrpcServer(options, clock));
  GrpcServer* const server = result.get();

  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetLimits(builder);
  builder.SetOption(ReflectionOption(options.reflection));
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (options.on_call) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> timers;
    timers.push_back(MakeCallTimer(options.on_call, clock));
    builder.experimental().SetInterceptorCreators(std::move(timers));
  }
  server->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  server->server_ = builder.BuildAndStart();
  if (!server->server_) {
    return absl::InternalError(absl::StrCat("gRPC could not start a server for ", path));
  }
  server->SetServing(false);

  absl::StatusOr<std::unique_ptr<PeerListener>> accepting = PeerListener::Start(
      std::move(listener), options.policy, options.kept_fds, clock,
      [server](wire::UniqueFd fd, const wire::PeerCredentials& peer) {
        server->HandOver(std::move(fd), peer);
      },
      nullptr);
  if (!accepting.ok()) return accepting.status();
  server->listener_ = *std::move(accepting);
  return result;
}

GrpcServer::~GrpcServer() { Shutdown(); }

void GrpcServer::HandOver(wire::UniqueFd fd, const wire::PeerCredentials& peer) {
  if (!connections_.Add(fd.get())) {
    if (full_log_.Allows(peer.uid)) {
      spdlog::warn("closed a connection of process {} of uid {}: there are too many already",
                   peer.pid, peer.uid);
    }
    return;
  }
  Acceptor::NewConnectionParameters parameters;
  // gRPC closes it, also when the connection is of no use. Before the server runs or after it was
  // shut down gRPC would leak it: the listener runs only in between.
  parameters.fd = fd.release();
  acceptor_->HandleNewConnection(&parameters);
}

void GrpcServer::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void GrpcServer::StopAccepting() {
  if (listener_) listener_->Stop();
}

void GrpcServer::Shutdown() {
  if (!server_ || std::exchange(shut_down_, true)) return;
  StopAccepting();
  server_->Shutdown(std::chrono::system_clock::now() + kGrace);
  server_->Wait();
}

}  // namespace modeld::rpc
