// The second connection to modeld, on which the descriptors of leases arrive.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deadline.h"
#include "endpoint.h"
#include "wire/framed_socket.h"
#include "wire/mutex.h"
#include "wire/unique_fd.h"

namespace modeld::client {

// Asks for the descriptors of leases; answers come in their order of asking, and whichever thread
// waits for one receives for all. Thread-safe.
class AttachChannel {
 public:
  // Waits for modeld's Welcome. `refused` is set when modeld says no in words, which asking again
  // does not change. kPeerNotAllowed (also when modeld hangs up at once), DAEMON_UNREACHABLE,
  // PROTOCOL_VIOLATION.
  static absl::StatusOr<std::unique_ptr<AttachChannel>> Introduce(const Endpoint& endpoint,
                                                                  wire::UniqueFd fd,
                                                                  Deadline deadline, bool* refused);
  ~AttachChannel();

  // 16 bytes: who we are on the other connection.
  const std::string& session_id() const { return session_id_; }

  // Sends a question and returns its number; never waits. Each number is to be given to Answer or
  // Abandon.
  absl::StatusOr<uint64_t> Ask(const std::string& lease_id);
  // Waits for exactly `fd_count` descriptors. UNAVAILABLE when the connection has broken,
  // DEADLINE_EXCEEDED, PROTOCOL_VIOLATION (the connection is then broken for everyone), or modeld's
  // refusal.
  absl::StatusOr<std::vector<wire::UniqueFd>> Answer(uint64_t request, size_t fd_count,
                                                     Deadline deadline);
  void Abandon(uint64_t request);

  // Has modeld closed it, or said something impossible? Asks the kernel.
  bool IsBroken() const;

 private:
  struct Pending {
    std::vector<wire::UniqueFd> fds;
    absl::Status refusal;
    bool done = false;
  };

  AttachChannel(wire::FramedSocket socket, std::string session_id);

  // One frame, or nothing at the deadline. Only by the thread that has set receiving_.
  absl::StatusOr<std::optional<wire::Frame>> ReceiveUntil(Deadline deadline);
  absl::Status Take(wire::Frame frame) MODELD_REQUIRES(mutex_);
  void Break(absl::Status why) MODELD_REQUIRES(mutex_);

  const std::string session_id_;
  const uint64_t fork_generation_;
  wire::FramedSocket socket_;  // sending under send_mutex_, receiving by whoever has set receiving_

  wire::Mutex send_mutex_;

  wire::Mutex mutex_;
  wire::CondVar changed_;
  uint64_t last_request_ MODELD_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, Pending> pending_ MODELD_GUARDED_BY(mutex_);
  bool receiving_ MODELD_GUARDED_BY(mutex_) = false;
  absl::Status broken_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::client
