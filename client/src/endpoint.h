// Where a modeld listens.

#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace modeld::client {

struct Endpoint {
  std::string calls_path;   // modeld.sock, absolute
  std::string attach_path;  // attach.sock beside it

  std::string text() const { return "unix://" + calls_path; }
};

// What Client::Connect says of its argument. kFieldInvalid for what is no endpoint;
// DAEMON_UNREACHABLE when none is given and none of the default sockets exists.
absl::StatusOr<Endpoint> ResolveEndpoint(const std::string& text);

}  // namespace modeld::client
