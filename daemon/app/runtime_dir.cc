#include "app/runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "base/unix_listener.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

// The longest name that a socket in the directory has.
constexpr std::string_view kLongestSocketName = "agent-host.sock";
constexpr mode_t kRuntimeDirMode = 0750;
constexpr mode_t kStateDirMode = 0700;

absl::Status FromErrno(int error, const std::string& what) {
  const std::string text = wire::StrCat(what, ": ", wire::ErrnoText(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

// Makes the directory unless it is there, and opens it: ours alone to write.
absl::StatusOr<wire::UniqueFd> OpenDirectory(const std::string& path, mode_t mode,
                                             std::string_view flag) {
  if (::mkdir(path.c_str(), mode) == 0) {
    // Whatever the umask took away.
    if (::chmod(path.c_str(), mode) != 0)
      return FromErrno(errno, wire::StrCat("cannot chmod ", path));
  } else if (errno != EEXIST) {
    const int error = errno;
    return FromErrno(
        error, wire::StrCat("cannot make the directory ", path, " (choose one with ", flag, ")"));
  }
  wire::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOTDIR) {
      return absl::FailedPreconditionError(
          wire::StrCat(path, " is not a directory; choose another with ", flag));
    }
    return FromErrno(errno, wire::StrCat("cannot open ", path));
  }
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return FromErrno(errno, wire::StrCat("cannot stat ", path));
  if (status.st_uid != ::geteuid()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s belongs to uid %d, and modeld runs as uid %d; choose another with %s, "
                        "or run modeld as its "
                        "owner",
                        path, status.st_uid, ::geteuid(), std::string(flag)));
  }
  if ((status.st_mode & S_IWOTH) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("everybody may write to %s (mode %04o); make it safe with `chmod o-w %s`, "
                        "or choose another "
                        "with %s",
                        path, status.st_mode & 07777, path, std::string(flag)));
  }
  return fd;
}

absl::Status LetGroupEnter(int fd, const std::string& path, gid_t group) {
  struct stat status;
  if (::fstat(fd, &status) != 0 ||
      (status.st_gid != group && ::fchown(fd, static_cast<uid_t>(-1), group) != 0) ||
      ::fchmod(fd, (status.st_mode & 07777) | S_IRGRP | S_IXGRP) != 0) {
    return FromErrno(errno, absl::StrFormat("cannot give %s to group %d", path, group));
  }
  return absl::OkStatus();
}

std::string OwnerOf(int lock) {
  char pid[32] = {};
  if (::pread(lock, pid, sizeof(pid) - 1, 0) <= 0) return "another modeld";
  return absl::StrFormat("another modeld (process %d)", ::atoi(pid));
}

absl::StatusOr<wire::UniqueFd> Lock(const std::string& directory) {
  const std::string path = wire::StrCat(directory, "/modeld.lock");
  wire::UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.valid()) return FromErrno(errno, wire::StrCat("cannot open ", path));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FromErrno(errno, wire::StrCat("cannot lock ", path));
    return absl::FailedPreconditionError(
        wire::StrCat(OwnerOf(lock.get()), " serves ", directory,
                     "; stop it first, or choose another directory with --runtime-dir"));
  }
  const std::string pid = wire::StrCat(::getpid(), "\n");
  if (::ftruncate(lock.get(), 0) != 0 ||
      ::pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return FromErrno(errno, wire::StrCat("cannot write ", path));
  }
  return lock;
}

}  // namespace

absl::StatusOr<RuntimeDir> RuntimeDir::Open(const std::string& path, std::optional<gid_t> group) {
  const size_t longest = path.size() + 1 + kLongestSocketName.size();
  if (longest > base::UnixListener::kMaxPathBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the runtime directory %s is too long: its sockets would have paths of %d "
                        "bytes, and %d are "
                        "possible; choose a shorter one with --runtime-dir",
                        path, longest, base::UnixListener::kMaxPathBytes));
  }
  auto directory = OpenDirectory(path, kRuntimeDirMode, "--runtime-dir");
  if (!directory.ok()) return directory.status();
  if (group) {
    if (auto status = LetGroupEnter(directory->get(), path, *group); !status.ok()) return status;
  }
  auto lock = Lock(path);
  if (!lock.ok()) return lock.status();
  return RuntimeDir(path, *std::move(lock));
}

std::string RuntimeDir::File(std::string_view name) const { return wire::StrCat(path_, "/", name); }

absl::StatusOr<gid_t> GroupId(const std::string& name) {
  gid_t number = 0;
  if (absl::SimpleAtoi(name, &number)) return number;
  struct group entry;
  struct group* found = nullptr;
  std::vector<char> buffer(4096);
  while (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) == ERANGE) {
    buffer.resize(buffer.size() * 2);
  }
  if (found == nullptr) {
    return absl::NotFoundError(
        wire::StrCat("socket_group: there is no group `", name, "`; `getent group` lists them"));
  }
  return found->gr_gid;
}

absl::Status MakeStateDir(const std::string& path) {
  return OpenDirectory(path, kStateDirMode, "--state-dir").status();
}

}  // namespace modeld::app
