#include "rpc/peer_policy.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace modeld::rpc {

bool PeerPolicy::Admits(const wire::PeerCredentials& peer,
                        std::span<const gid_t> supplementary_groups) const {
  if (allow_uids.empty() && allow_gids.empty()) return true;
  if (peer.uid == 0 || peer.uid == ::geteuid()) return true;
  if (std::ranges::find(allow_uids, peer.uid) != allow_uids.end()) return true;
  const auto allowed = [this](gid_t gid) {
    return std::ranges::find(allow_gids, gid) != allow_gids.end();
  };
  return allowed(peer.gid) || std::ranges::any_of(supplementary_groups, allowed);
}

std::vector<gid_t> PeerGroups(int fd) {
  std::vector<gid_t> groups(32);
  while (true) {
    socklen_t size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0) {
      groups.resize(size / sizeof(gid_t));
      return groups;
    }
    // ERANGE: `size` is what it takes.
    if (errno != ERANGE || size <= groups.size() * sizeof(gid_t)) return {};
    groups.resize(size / sizeof(gid_t));
  }
}

}  // namespace modeld::rpc
