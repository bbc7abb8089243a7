// The descriptors of a lease as frames for attach.sock.

#pragma once

#include <span>

#include "absl/status/status.h"
#include "modeld/v1/attach.pb.h"
#include "residency/manager.h"
#include "wire/framed_socket.h"

namespace modeld::rpc {

// Sends the answer to `request` in frames of at most 253 descriptors; never waits. What TrySend
// says: the connection is of no more use then.
absl::Status SendLeaseFds(wire::FramedSocket& socket, const v1::GetLeaseFds& request,
                          const residency::LeaseMemory& memory);

// As SendLeaseFds, for a request that is refused.
absl::Status SendRefusal(wire::FramedSocket& socket, const v1::GetLeaseFds& request,
                         const absl::Status& why);

v1::Refused ToRefused(const absl::Status& status);

// REQUIRES: the message serializes (it has no required fields, so it does).
absl::Status SendMessage(wire::FramedSocket& socket, const v1::AttachServerMessage& message,
                         std::span<const int> fds = {});

}  // namespace modeld::rpc
