// attach.sock: who one is to the daemon, and the descriptors of one's leases.

#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "modelctl/endpoint.h"
#include "modelctl/interrupt.h"
#include "modeld/v1/attach.pb.h"
#include "wire/framed_socket.h"
#include "wire/unique_fd.h"

namespace modeld::modelctl {

// When to give up; absent: never.
using Deadline = std::optional<std::chrono::steady_clock::time_point>;

struct LeaseDescriptors {
  wire::UniqueFd table;
  wire::UniqueFd reference_table;  // not valid: there is none
  std::vector<wire::UniqueFd> segments;
  wire::UniqueFd digests;  // not valid: not known yet
};

// One session: it and its leases end with the object. Externally synchronised.
class AttachSession {
 public:
  // PERMISSION_DENIED (PEER_NOT_ALLOWED) for a user that modeld does not serve.
  static absl::StatusOr<std::unique_ptr<AttachSession>> Open(const std::string& path,
                                                             Interrupt& interrupt,
                                                             Deadline deadline);

  // Goes as metadata `modeld-session-bin` with calls.
  const std::string& session_id() const { return session_id_; }

  // `has_reference_table` is what Granted said.
  absl::StatusOr<LeaseDescriptors> GetDescriptors(const std::string& lease_id,
                                                  bool has_reference_table, bool want_digests,
                                                  Deadline deadline);

 private:
  AttachSession(wire::FramedSocket socket, Interrupt& interrupt)
      : socket_(std::move(socket)), interrupt_(interrupt) {}

  absl::StatusOr<v1::AttachServerMessage> Receive(Deadline deadline,
                                                  std::vector<wire::UniqueFd>* fds);

  wire::FramedSocket socket_;
  Interrupt& interrupt_;
  std::string session_id_;
  uint64_t last_request_ = 0;
};

// If attach.sock refuses this process: why. OK in any other case. Waits a second at most.
absl::Status WhyRefused(const Endpoint& endpoint);

}  // namespace modeld::modelctl
