// Which processes of this machine may speak to the daemon.

#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

#include "wire/framed_socket.h"

namespace modeld::rpc {

// Both lists empty: whoever the permissions of the socket's file let through. Otherwise the peer's
// uid, its gid or one of its supplementary groups must be listed. Root and the daemon's own user
// are always admitted: they could read its memory anyway, and an operator must not lock himself
// out.
struct PeerPolicy {
  std::vector<uid_t> allow_uids;
  std::vector<gid_t> allow_gids;

  bool Admits(const wire::PeerCredentials& peer, std::span<const gid_t> supplementary_groups) const;
};

// The supplementary groups that the peer of a connected Unix socket had when it connected
// (SO_PEERGROUPS); empty where the kernel does not tell.
std::vector<gid_t> PeerGroups(int fd);

}  // namespace modeld::rpc
