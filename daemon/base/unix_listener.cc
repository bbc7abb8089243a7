#include "base/unix_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace modeld::base {
namespace {

constexpr int kBacklog = 4096;

std::string LockPath(const std::string& path) { return absl::StrCat(path, ".lock"); }

// Who wrote the lock file; empty when it does not say.
std::string OwnerText(int lock_fd) {
  char text[32] = {};
  const ssize_t size = ::pread(lock_fd, text, sizeof(text) - 1, 0);
  int pid = 0;
  if (size <= 0 || !absl::SimpleAtoi(text, &pid)) return "another process";
  return absl::StrCat("process ", pid);
}

// A lock file that its last owner has just unlinked locks nothing: it is the one at the path that
// counts.
bool IsAtPath(int fd, const std::string& path) {
  struct stat by_fd, by_path;
  return ::fstat(fd, &by_fd) == 0 && ::stat(path.c_str(), &by_path) == 0 &&
         by_fd.st_ino == by_path.st_ino && by_fd.st_dev == by_path.st_dev;
}

absl::StatusOr<wire::UniqueFd> TakeLock(const std::string& path) {
  const std::string lock_path = LockPath(path);
  while (true) {
    wire::UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!lock.valid()) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot create the lock file ", lock_path));
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) {
        return absl::ErrnoToStatus(errno, absl::StrCat("cannot lock ", lock_path));
      }
      return absl::FailedPreconditionError(
          absl::StrCat(path, " is already served by ", OwnerText(lock.get()), ", which holds ",
                       lock_path, ": stop it first, or use another runtime directory"));
    }
    if (!IsAtPath(lock.get(), lock_path)) continue;
    const std::string pid = absl::StrCat(::getpid(), "\n");
    if (::ftruncate(lock.get(), 0) != 0 ||
        ::pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", lock_path));
    }
    return lock;
  }
}

// REQUIRES: the lock is held.
absl::Status RemoveStaleSocket(const std::string& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : absl::ErrnoToStatus(errno, absl::StrCat("cannot look at ", path));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is there and is no socket: move it away, or use another runtime directory"));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot remove the old socket ", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UnixListener> UnixListener::Bind(const std::string& path, mode_t mode) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() > kMaxPathBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the socket path '", path, "' has ", path.size(), " bytes; a Unix socket takes 1 to ",
        kMaxPathBytes, ": use a shorter runtime directory"));
  }
  memcpy(address.sun_path, path.data(), path.size());

  absl::StatusOr<wire::UniqueFd> lock = TakeLock(path);
  if (!lock.ok()) return lock.status();
  if (absl::Status status = RemoveStaleSocket(path); !status.ok()) return status;

  UnixListener listener(path, *std::move(lock));
  wire::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "cannot create a Unix socket");
  // bind() gives the file the mode of the socket's inode less the umask, so it is born no wider
  // than asked; chmod then gives back what the umask took. Setting the umask instead would touch
  // every thread.
  if (::fchmod(fd.get(), mode) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot bind ", path));
  }
  listener.fd_ = std::move(fd);
  if (::chmod(path.c_str(), mode) != 0 || ::listen(listener.fd_.get(), kBacklog) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot listen on ", path));
  }
  return listener;
}

absl::StatusOr<UnixListener> UnixListener::Adopt(ListeningSocket socket) {
  absl::StatusOr<wire::UniqueFd> lock = TakeLock(socket.path);
  if (!lock.ok()) return lock.status();
  const int flags = ::fcntl(socket.fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.fd.get(), F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(socket.fd.get(), F_SETFD, FD_CLOEXEC) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot take over ", socket.path));
  }
  UnixListener listener(std::move(socket.path), *std::move(lock));
  listener.fd_ = std::move(socket.fd);
  listener.adopted_ = true;
  return listener;
}

UnixListener::UnixListener(UnixListener&& other) noexcept
    : path_(std::move(other.path_)),
      lock_(std::move(other.lock_)),
      fd_(std::move(other.fd_)),
      adopted_(other.adopted_) {}

UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
  if (this != &other) {
    Close();
    path_ = std::move(other.path_);
    lock_ = std::move(other.lock_);
    fd_ = std::move(other.fd_);
    adopted_ = other.adopted_;
  }
  return *this;
}

UnixListener::~UnixListener() { Close(); }

void UnixListener::TurnAway() {
  if (adopted_ || !fd_.valid()) return;
  ::shutdown(fd_.get(), SHUT_RDWR);
  // Those that were in the backlog already: closed, not left waiting.
  while (true) {
    const absl::StatusOr<std::optional<wire::UniqueFd>> connection = Accept();
    if (!connection.ok() || !connection->has_value()) return;
  }
}

void UnixListener::Close() {
  if (fd_.valid() && !adopted_) ::unlink(path_.c_str());
  fd_.reset();
  if (lock_.valid()) ::unlink(LockPath(path_).c_str());
  lock_.reset();
}

absl::StatusOr<std::optional<wire::UniqueFd>> UnixListener::Accept() {
  while (true) {
    wire::UniqueFd connection(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection.valid()) return std::optional<wire::UniqueFd>(std::move(connection));
    switch (errno) {
      case EINTR:
      case ECONNABORTED:
        continue;
      case EAGAIN:
        return std::optional<wire::UniqueFd>();
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return absl::ResourceExhaustedError(
            absl::StrCat("cannot accept a connection on ", path_, ": ", strerror(errno),
                         "; raise the limit of open files (LimitNOFILE)"));
      default:
        return absl::ErrnoToStatus(errno, absl::StrCat("cannot accept a connection on ", path_));
    }
  }
}

}  // namespace modeld::base
