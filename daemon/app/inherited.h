// What the service manager passed to this process (sd_listen_fds(3)).

#pragma once

#include <vector>

#include "base/unix_listener.h"
#include "supervisor/descriptor_store.h"

namespace modeld::app {

// All owned here, and CLOEXEC.
struct Inherited {
  // What an earlier modeld put into the store of descriptors.
  std::vector<supervisor::NamedFd> stored;
  // What the socket units listen on, by path: the name that they give a descriptor is their own.
  std::vector<base::ListeningSocket> sockets;
};

// Once, before any thread starts: it takes the variables away, so that no child takes them for its
// own. Empty without a service manager, and where the descriptors were meant for another process.
Inherited TakeInherited();

}  // namespace modeld::app
