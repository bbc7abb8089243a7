#include "reference/checked_open.h"

#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "reference/explain.h"

namespace modeld::reference {
namespace {

int OpenBeneath(const PlaceInRoot& place) {
  struct open_how how = {};
  // O_NONBLOCK: should a fifo, or a file on which somebody holds a file lease, come to stand there,
  // nothing waits for it.
  how.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return static_cast<int>(
      ::syscall(SYS_openat2, place.root->fd.get(), place.relative.c_str(), &how, sizeof(how)));
}

// One attempt. nullopt: try again.
std::optional<absl::StatusOr<Opened>> Attempt(Roots& roots, const Subject& subject, int directory,
                                              const std::string& name) {
  const wire::UniqueFd found(::openat(directory, name.c_str(), O_PATH | O_CLOEXEC));
  if (!found.valid()) {
    const int error = errno;
    if (error == EMFILE || error == ENFILE || error == ENOMEM) {
      return ReadFailed(subject, subject.path, error);
    }
    const Explanation why = Explain(roots, subject.path);
    if (why.kind == Explanation::Kind::kInside && error == ENOENT) return std::nullopt;
    return Refusal(subject, roots.configured(), why, error);
  }
  struct stat status;
  if (::fstat(found.get(), &status) != 0) return ReadFailed(subject, subject.path, errno);

  const auto real_path = RealPath(found.get());
  const auto place = real_path ? roots.Find(*real_path) : std::nullopt;
  if (!place) {
    const Explanation why = Explain(roots, subject.path);
    if (why.kind == Explanation::Kind::kInside) return std::nullopt;
    return Refusal(subject, roots.configured(), why, ENOENT);
  }
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    return NotAFile(subject, *real_path, status.st_mode);
  }

  wire::UniqueFd opened(OpenBeneath(*place));
  if (!opened.valid()) {
    switch (errno) {
      case EAGAIN:   // a rename elsewhere, says openat2(2); or a file lease, which ends
      case ENOENT:   // moved away
      case ENOTDIR:  // another thing took the place of a directory
      case ELOOP:    // a symlink took the place of something
      case EXDEV:
      case ENXIO:  // a fifo or socket took the place of the file
        return std::nullopt;
      case EACCES:
      case EPERM:
        return MayNotRead(subject, *real_path, status, errno);
      default:
        return ReadFailed(subject, *real_path, errno);
    }
  }
  Opened result = {.real_path = *real_path, .fd = std::move(opened), .status = {}};
  if (::fstat(result.fd.get(), &result.status) != 0) return ReadFailed(subject, *real_path, errno);
  if (result.status.st_dev != status.st_dev || result.status.st_ino != status.st_ino) {
    return std::nullopt;
  }
  // Readers are to block as for any file: io_uring takes O_NONBLOCK at its word.
  if (::fcntl(result.fd.get(), F_SETFL, 0) != 0) return ReadFailed(subject, *real_path, errno);
  return result;
}

}  // namespace

absl::StatusOr<Opened> OpenChecked(Roots& roots, const Subject& subject) {
  return OpenChecked(roots, subject, AT_FDCWD, subject.path);
}

absl::StatusOr<Opened> OpenChecked(Roots& roots, const Subject& subject, int directory,
                                   const std::string& name) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    if (auto result = Attempt(roots, subject, directory, name)) return *std::move(result);
  }
  return KeptMoving(subject, kMostAttempts);
}

}  // namespace modeld::reference
