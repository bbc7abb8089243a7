// Where the daemon listens.

#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace modeld::modelctl {

// The sockets of one daemon, by path.
struct Endpoint {
  std::string modeld;  // read verbs and leases
  std::string admin;   // operator verbs
  std::string attach;  // descriptors of leases

  std::string directory() const;
};

// What may name the endpoint, in the order of precedence. Empty means not given.
struct EndpointSources {
  std::string flag;         // -H
  std::string environment;  // MODELD_ENDPOINT
  std::string xdg_runtime_dir;
  bool root = false;
};

// From this process' environment.
EndpointSources GetEndpointSources(const std::string& flag);

// `unix:///PATH`, `unix:PATH` or PATH; where nothing names one, /run/modeld/modeld.sock and
// $XDG_RUNTIME_DIR/modeld/modeld.sock, whichever exists (root: the first, else the second, goes
// first). INVALID_ARGUMENT for another scheme, for a directory, and for an ordinary user without
// XDG_RUNTIME_DIR who names none while the machine has none.
absl::StatusOr<Endpoint> ResolveEndpoint(const EndpointSources& sources);

}  // namespace modeld::modelctl
