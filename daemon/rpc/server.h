// Everything that clients and operators connect to: modeld.sock, attach.sock and admin.sock.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/unix_listener.h"
#include "residency/manager.h"
#include "rpc/admin_service.h"
#include "rpc/attach_server.h"
#include "rpc/grpc_server.h"
#include "rpc/inspect.h"
#include "rpc/open_calls.h"
#include "rpc/peer_listener.h"
#include "rpc/peer_policy.h"
#include "rpc/residency_service.h"
#include "rpc/service_deps.h"
#include "rpc/session_registry.h"

namespace modeld::rpc {

struct ServerOptions {
  std::string runtime_dir;  // exists; the sockets lie there
  // Of modeld.sock and attach.sock. admin.sock is for its owner and root (0600).
  PeerPolicy peers;
  // The group that owns modeld.sock and attach.sock (0660); absent: the daemon's own. Of sockets
  // that were passed, whoever made them has decided.
  std::optional<gid_t> socket_group;
  std::string version;
  std::vector<std::string> roots;  // for GetServerInfo
  size_t max_sessions = 4096;      // attach connections
  size_t max_connections = 4096;   // on modeld.sock
  CallObserver on_call = {};       // told of every unary call; may be empty
};

struct ServerDeps {
  residency::Manager& manager;
  base::Executor& executor;  // runs `inspect`
  InspectFunction inspect;
  // What the last parser reported; nullopt before the first. Thread-safe, does not block.
  std::function<std::optional<v1::ParserSandbox>()> sandbox;
  // What is missing of GPUs: words for an operator.
  std::vector<std::string> gpu_notes;
  const base::Clock& clock;
  // What is not as the configuration wants it: words for an operator. Thread-safe, does not block;
  // may be empty.
  std::function<std::vector<std::string>()> degraded = {};
};

// Owns the sockets, the gRPC servers and their threads. Externally synchronised.
class Server {
 public:
  // Takes the sockets and serves at once, but health says NOT_SERVING. All of `deps` outlives the
  // server, and what the server posted to the executor. FAILED_PRECONDITION: another daemon serves
  // this runtime directory. Otherwise what UnixListener::Bind says.
  //
  // `passed`: sockets of the runtime directory that the service manager listens on; the others are
  // bound here.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const ServerOptions& options, const ServerDeps& deps,
      std::vector<base::ListeningSocket> passed = {});
  // Shutdown(0), then gives the sockets up.
  ~Server();

  // What grpc.health.v1 says on both sockets.
  void SetServing(bool serving);

  // Who may connect to modeld.sock and attach.sock from now on; connections that are open stay.
  void SetPeers(const PeerPolicy& peers);

  // Call Manager::BeginShutdown first: it tells the holders. Health says NOT_SERVING, nobody new
  // gets in, calls that are open go on until their clients end them, at most for `grace`; then they
  // are cancelled and the sessions end. The sockets stay locked until the server dies. Idempotent.
  void Shutdown(base::Duration grace);

 private:
  struct Sockets;

  Server(const ServerOptions& options, const ServerDeps& deps);
  absl::Status Open(Sockets sockets, const ServerOptions& options);

  SessionRegistry sessions_;
  const ServiceDeps deps_;
  OpenCalls calls_;  // Acquire and Preload
  ResidencyService public_service_;
  // The read calls, so that an operator needs one socket only.
  ResidencyService admin_read_service_;
  AdminService admin_service_;
  std::unique_ptr<AttachServer> attach_;
  std::unique_ptr<PeerListener> attach_listener_;
  std::unique_ptr<GrpcServer> public_server_;
  std::unique_ptr<GrpcServer> admin_server_;
};

}  // namespace modeld::rpc
