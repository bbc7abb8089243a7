#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>

#include "wire/error.h"
#include "wire/framed_socket.h"
#include "wire/text.h"

namespace modeld::wire {
namespace {

absl::Status ConnectFailed(const std::string& path, int error) {
  const std::string text = StrCat("cannot connect to ", path, ": ", ErrnoText(error));
  switch (error) {
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(text);
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ECONNREFUSED:
    case ECONNRESET:
    case EAGAIN:
      return absl::UnavailableError(text);
    case EPROTOTYPE:
      return absl::InvalidArgumentError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace

absl::StatusOr<PeerCredentials> GetPeerCredentials(int fd) {
  struct ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return absl::InternalError(StrCat("cannot ask who connected: ", ErrnoText(errno)));
  }
  return PeerCredentials{.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
}

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path,
                                     std::optional<std::chrono::milliseconds> timeout) {
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path) ||
      path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(StrCat(
        "cannot connect to ", path.empty() ? "an empty path" : path, ": a socket's path has 1 to ",
        sizeof(address.sun_path) - 1, " bytes, this one has ", path.size()));
  }
  memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    return absl::ResourceExhaustedError(StrCat("cannot make a socket: ", ErrnoText(errno)));
  }
  if (timeout) {
    // It bounds connect() too. Zero would mean no bound.
    const auto millis = std::max<int64_t>(timeout->count(), 1);
    const struct timeval bound = {.tv_sec = millis / 1000, .tv_usec = millis % 1000 * 1000};
    if (setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound)) != 0) {
      return absl::InternalError(StrCat("cannot bound a socket: ", ErrnoText(errno)));
    }
  }
  // Blocking, so that a full backlog is waited for. Interrupted, it has not begun: it is made anew.
  while (connect(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno != EINTR) return ConnectFailed(path, errno);
  }
  return fd;
}

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> UnixPair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return absl::ResourceExhaustedError(
        StrCat("cannot make a pair of sockets: ", ErrnoText(errno)));
  }
  return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

}  // namespace modeld::wire
