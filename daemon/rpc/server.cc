#include "rpc/server.h"

#include <errno.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/text.h"

namespace modeld::rpc {
namespace {

// Operators, and the tools they leave running.
constexpr size_t kMaxAdminConnections = 256;
// A load has its files, a parser, tables and segments; and the operator wants to look.
constexpr uint64_t kKeptFds = 64;

// Bound, unless it is among those that were passed.
absl::StatusOr<base::UnixListener> ListenerFor(const ServerOptions& options,
                                               std::vector<base::ListeningSocket>& passed,
                                               std::string_view name, mode_t mode,
                                               std::optional<gid_t> group) {
  const std::string path = wire::StrCat(options.runtime_dir, "/", name);
  for (base::ListeningSocket& socket : passed) {
    if (socket.path == path) return base::UnixListener::Adopt(std::move(socket));
  }
  absl::StatusOr<base::UnixListener> listener = base::UnixListener::Bind(path, mode);
  if (listener.ok() && group && ::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot give ", path, " to group ", *group));
  }
  return listener;
}

}  // namespace

// Taken together before anything else, so that a second daemon finds out before it has done any
// harm.
struct Server::Sockets {
  base::UnixListener modeld;
  base::UnixListener attach;
  base::UnixListener admin;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      const ServerDeps& deps,
                                                      std::vector<base::ListeningSocket> passed) {
  auto modeld = ListenerFor(options, passed, "modeld.sock", 0660, options.socket_group);
  if (!modeld.ok()) return modeld.status();
  auto attach = ListenerFor(options, passed, "attach.sock", 0660, options.socket_group);
  if (!attach.ok()) return attach.status();
  auto admin = ListenerFor(options, passed, "admin.sock", 0600, std::nullopt);
  if (!admin.ok()) return admin.status();

  std::unique_ptr<Server> server(new Server(options, deps));
  if (absl::Status status =
          server->Open({*std::move(modeld), *std::move(attach), *std::move(admin)}, options);
      !status.ok()) {
    return status;
  }
  return server;
}

Server::Server(const ServerOptions& options, const ServerDeps& deps)
    : sessions_(options.max_sessions),
      deps_{.manager = deps.manager,
            .sessions = sessions_,
            .executor = deps.executor,
            .clock = deps.clock,
            .inspect = deps.inspect,
            .sandbox = deps.sandbox,
            .gpu_notes = deps.gpu_notes,
            .degraded = deps.degraded,
            .facts = {.version = options.version,
                      .runtime_dir = options.runtime_dir,
                      .roots = options.roots,
                      .start_time = deps.clock.WallNow()}},
      public_service_(deps_, calls_),
      admin_read_service_(deps_, calls_),
      admin_service_(deps_, calls_) {}

absl::Status Server::Open(Sockets sockets, const ServerOptions& options) {
  auto attach = AttachServer::Start(deps_.manager, sessions_, deps_.clock, options.version);
  if (!attach.ok()) return attach.status();
  attach_ = *std::move(attach);

  auto attach_listener = PeerListener::Start(
      std::move(sockets.attach), options.peers, kKeptFds, deps_.clock,
      [attach = attach_.get()](wire::UniqueFd fd, const wire::PeerCredentials& peer) {
        attach->Admit(std::move(fd), peer);
      },
      AttachServer::Refuse);
  if (!attach_listener.ok()) return attach_listener.status();
  attach_listener_ = *std::move(attach_listener);

  auto public_server = GrpcServer::Start(std::move(sockets.modeld),
                                         {.policy = options.peers,
                                          .kept_fds = kKeptFds,
                                          .max_connections = options.max_connections,
                                          .reflection = false,
                                          .on_call = options.on_call},
                                         {&public_service_}, deps_.clock);
  if (!public_server.ok()) return public_server.status();
  public_server_ = *std::move(public_server);

  auto admin_server = GrpcServer::Start(std::move(sockets.admin),
                                        {.policy = {},
                                         .kept_fds = 0,
                                         .max_connections = kMaxAdminConnections,
                                         .reflection = true,
                                         .on_call = options.on_call},
                                        {&admin_service_, &admin_read_service_}, deps_.clock);
  if (!admin_server.ok()) return admin_server.status();
  admin_server_ = *std::move(admin_server);
  return absl::OkStatus();
}

Server::~Server() { Shutdown(base::Duration::zero()); }

void Server::SetServing(bool serving) {
  public_server_->SetServing(serving);
  admin_server_->SetServing(serving);
}

void Server::SetPeers(const PeerPolicy& peers) {
  public_server_->SetPolicy(peers);
  attach_listener_->SetPolicy(peers);
}

void Server::Shutdown(base::Duration grace) {
  // Start may have failed half way.
  if (attach_listener_) attach_listener_->Stop();
  for (GrpcServer* server : {public_server_.get(), admin_server_.get()}) {
    if (server == nullptr) continue;
    server->SetServing(false);
    server->StopAccepting();
  }
  calls_.WaitForNone(std::chrono::steady_clock::now() + grace);
  if (public_server_) public_server_->Shutdown();
  if (admin_server_) admin_server_->Shutdown();
  // Last: as long as a lease is held, its descriptors can be asked for.
  if (attach_) attach_->Stop();
}

}  // namespace modeld::rpc
