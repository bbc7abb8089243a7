// The daemon's end of attach.sock: gives each client its session, and the descriptors of its
// leases.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "modeld/v1/attach.pb.h"
#include "residency/manager.h"
#include "rpc/epoll_loop.h"
#include "rpc/log_throttle.h"
#include "rpc/session_registry.h"
#include "wire/framed_socket.h"
#include "wire/unique_fd.h"

namespace modeld::rpc {

// One connection is one session; the session ends with the connection. A connection that sends what
// the protocol does not know, a frame over 4 KiB or a descriptor, or that does not read what it
// asked for, is closed, and nobody else notices: nothing here waits for a peer.
//
// One request per connection is under way at a time; further ones stay in the socket until it is
// answered. That keeps answers in order and bounds what a client can make the daemon hold.
class AttachServer {
 public:
  // All but `version` outlive the server.
  static absl::StatusOr<std::unique_ptr<AttachServer>> Start(residency::Manager& manager,
                                                             SessionRegistry& sessions,
                                                             const base::Clock& clock,
                                                             std::string version);
  // Stop().
  ~AttachServer();

  // Takes a connection that the peer policy admitted: non-blocking. Thread-safe.
  void Admit(wire::UniqueFd fd, const wire::PeerCredentials& peer);
  // Says why and hangs up. Never waits. Thread-safe.
  static void Refuse(wire::UniqueFd fd, const absl::Status& why);

  // Ends all sessions. Idempotent.
  void Stop();

 private:
  struct Connection {
    wire::FramedSocket socket;
    std::shared_ptr<const Session> session;
    bool answering = false;  // a request is under way: nothing more is read
  };

  AttachServer(residency::Manager& manager, SessionRegistry& sessions, const base::Clock& clock,
               std::string version, std::shared_ptr<EpollLoop> loop)
      : manager_(manager),
        sessions_(sessions),
        version_(std::move(version)),
        loop_(std::move(loop)),
        log_(clock) {}

  // All on the loop's thread; connections by the number of their session.
  void Open(wire::UniqueFd fd, const wire::PeerCredentials& peer);
  void Close(uint64_t number);
  // For what an honest client does not do.
  void CloseAndLog(uint64_t number, std::string_view why);
  void OnEvents(uint64_t number, uint32_t events);
  void ReadRequests(uint64_t number);
  void Ask(uint64_t number, Connection& connection, const v1::GetLeaseFds& request);
  void Answer(uint64_t number, const v1::GetLeaseFds& request,
              const absl::StatusOr<residency::LeaseMemory>& memory);
  // Asks for these events of a connection, if it is still there; that it hung up is always told.
  void Listen(uint64_t number, uint32_t events);

  residency::Manager& manager_;
  SessionRegistry& sessions_;
  const std::string version_;
  const std::shared_ptr<EpollLoop> loop_;
  std::unordered_map<uint64_t, Connection> connections_;
  LogThrottle log_;
};

}  // namespace modeld::rpc
