// A listening Unix socket that exactly one process serves.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "wire/unique_fd.h"

namespace modeld::base {

// A socket that somebody else has bound and listens on, in the place of whoever will serve it: the
// service manager.
struct ListeningSocket {
  std::string path;
  wire::UniqueFd fd;
};

// Owns a path in the file system by way of a lock on `<path>.lock`, which holds the owner's pid.
// The lock is taken before a socket that a dead owner left behind is unlinked, so a second process
// refuses and never steals; the kernel drops it with the process, so nothing has to be cleaned up
// after a kill -9.
//
// Move-only; externally synchronised, but for fd(), which may be polled by another thread.
class UnixListener {
 public:
  // Longest path of a Unix socket, in bytes.
  static constexpr size_t kMaxPathBytes = 107;

  // Binds and listens; non-blocking, CLOEXEC. The socket is never more open than `mode`, not even
  // for a moment.
  //
  // FAILED_PRECONDITION: another process owns it (named, with its pid), or something that is no
  // socket lies there. INVALID_ARGUMENT: the path is too long. PERMISSION_DENIED, NOT_FOUND,
  // UNAVAILABLE: what the file system says.
  static absl::StatusOr<UnixListener> Bind(const std::string& path, mode_t mode);

  // Serves a socket as it is, owner and mode included. Its path stays where it is when this closes:
  // whoever connects then waits for the next one that serves it.
  //
  // FAILED_PRECONDITION: another process serves it. Otherwise as for Bind.
  static absl::StatusOr<UnixListener> Adopt(ListeningSocket socket);

  UnixListener(UnixListener&& other) noexcept;
  UnixListener& operator=(UnixListener&& other) noexcept;
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;
  // Close().
  ~UnixListener();

  // The next connection (non-blocking off, CLOEXEC); nullopt when none waits. RESOURCE_EXHAUSTED
  // when descriptors or memory are short: the connection stays in the backlog, ask again later.
  absl::StatusOr<std::optional<wire::UniqueFd>> Accept();

  // Whoever is in the backlog or connects from now on is refused, while the path stays owned. Not
  // for a socket that was adopted: they wait for the next one that serves it.
  void TurnAway();

  // Unlinks the socket unless it was adopted, stops listening and gives the path up. Idempotent.
  void Close();

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

 private:
  UnixListener(std::string path, wire::UniqueFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  wire::UniqueFd lock_;
  wire::UniqueFd fd_;
  bool adopted_ = false;
};

}  // namespace modeld::base
