// Accepts connections on a Unix socket and lets in only the peers that a policy admits.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/unix_listener.h"
#include "rpc/log_throttle.h"
#include "rpc/peer_policy.h"
#include "wire/framed_socket.h"
#include "wire/mutex.h"
#include "wire/unique_fd.h"

namespace modeld::rpc {

// Owns the socket and one thread. Who a peer is comes from the kernel (SO_PEERCRED), before anybody
// reads a byte that it sent. Refused peers are logged once per uid and minute.
//
// When only `kept_fds` descriptors are left, or a quarter of all where that is less, whoever comes
// is refused (kLimitReached): a process that has none for the descriptors of a load loses its
// agents. When the process is out of descriptors all the same, the listener rests for a moment: the
// connections wait in the backlog.
class PeerListener {
 public:
  // Called on the listener's thread, one connection at a time: must not block. The descriptor is
  // non-blocking, CLOEXEC.
  using Handler = std::function<void(wire::UniqueFd, const wire::PeerCredentials&)>;
  // The same for those that are not admitted, with why: kPeerNotAllowed, kLimitReached.
  using Refusal = std::function<void(wire::UniqueFd, const absl::Status&)>;

  // Starts to accept. `refused` may be empty: then a refused connection is just closed. `clock`
  // outlives the listener. RESOURCE_EXHAUSTED when a descriptor cannot be had.
  static absl::StatusOr<std::unique_ptr<PeerListener>> Start(base::UnixListener listener,
                                                             PeerPolicy policy, uint64_t kept_fds,
                                                             const base::Clock& clock,
                                                             Handler admitted, Refusal refused);
  // Stop(), then gives the path up.
  ~PeerListener();

  // For those who connect from now on. Thread-safe.
  void SetPolicy(PeerPolicy policy);

  // Whoever connects from now on gets ECONNREFUSED; no handler runs after it returns. The path and
  // its lock stay until the listener dies, so that no second daemon moves in beside one that still
  // drains. Idempotent.
  void Stop();

 private:
  PeerListener(base::UnixListener listener, PeerPolicy policy, uint64_t kept_fds,
               const base::Clock& clock, Handler admitted, Refusal refused, wire::UniqueFd wake);

  void Run();
  // False: rest before asking again.
  bool AcceptSome();
  void Serve(wire::UniqueFd connection);
  // May this peer have this descriptor?
  absl::Status Check(int connection, const wire::PeerCredentials& peer) const;
  PeerPolicy policy() const;

  base::UnixListener listener_;
  const Handler admitted_;
  const Refusal refused_;
  const uint64_t kept_fds_;
  const wire::UniqueFd wake_;  // eventfd: readable once Stop was called
  LogThrottle refusal_log_;
  LogThrottle error_log_;
  mutable wire::Mutex mutex_;
  PeerPolicy policy_ MODELD_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace modeld::rpc
