// What happens to the library's sockets when the process forks: the child closes them.
//
// Else a child that lives on (a DataLoader's worker) would keep its parent's connections open, and
// so its leases, after the parent has died.

#pragma once

#include <cstdint>
#include <memory>

namespace modeld::client {

// Rises in every forked child. What was made under another generation belongs to a parent: no lock
// of it may be taken (its holder may be a thread that is not here), and nothing of gRPC in it may
// be used or destroyed.
uint64_t ForkGeneration();

// Keeps what belongs to the parent from being destroyed in this process, a forked child.
void LeaveToParent(std::shared_ptr<const void> object);

// Has every forked child close a socket. Move-free; thread-safe.
class SocketGuard {
 public:
  // REQUIRES: fd is an open socket. It may be closed before the guard is gone: the child looks
  // whether the number still names the same socket.
  explicit SocketGuard(int fd);
  ~SocketGuard();
  SocketGuard(const SocketGuard&) = delete;
  SocketGuard& operator=(const SocketGuard&) = delete;

 private:
  struct Slot* slot_;
};

// Tells whether a fork may have come between the birth of a socket and its SocketGuard, so that a
// child has a copy of it. Such a socket must be shut down and made again.
class ForkWindow {
 public:
  // Waits a little for a fork that is under way.
  ForkWindow();
  bool undisturbed() const;

 private:
  uint64_t started_;
  bool quiet_;
};

}  // namespace modeld::client
