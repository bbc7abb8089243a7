#include "reference/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "reference/explain.h"
#include "reference/refusals.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

// How often a path is looked up again that changed between two steps.
constexpr int kMostAttempts = 32;

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
std::optional<absl::StatusOr<plan::OpenFile>> Attempt(Roots& roots, const Subject& subject) {
  const wire::UniqueFd found(::open(subject.path.c_str(), O_PATH | O_CLOEXEC));
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
  if (!S_ISREG(status.st_mode)) return NotAFile(subject, *real_path, status.st_mode);

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
  struct stat opened_status;
  if (::fstat(opened.get(), &opened_status) != 0) return ReadFailed(subject, *real_path, errno);
  if (opened_status.st_dev != status.st_dev || opened_status.st_ino != status.st_ino) {
    return std::nullopt;
  }
  if (opened_status.st_size == 0) return EmptyFile(subject, *real_path);
  // Readers are to block as for any file: io_uring takes O_NONBLOCK at its word.
  if (::fcntl(opened.get(), F_SETFL, 0) != 0) return ReadFailed(subject, *real_path, errno);
  return plan::OpenFile{.path = *real_path,
                        .fd = std::move(opened),
                        .identity = plan::IdentityOf(opened_status),
                        .name = subject.path.substr(subject.path.rfind('/') + 1)};
}

absl::StatusOr<plan::OpenFile> OpenChecked(Roots& roots, const Subject& subject) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    if (auto result = Attempt(roots, subject)) return *std::move(result);
  }
  return KeptMoving(subject, kMostAttempts);
}

}  // namespace

Resolver::Resolver(ResolverOptions options) : roots_(std::move(options.roots)) {}

absl::StatusOr<std::shared_ptr<plan::OpenCheckpoint>> Resolver::Resolve(
    const std::string& reference) {
  auto parsed = ParseReference(reference);
  if (!parsed.ok()) return parsed.status();
  if (roots().empty()) return NoRoots(reference);

  std::vector<Subject> candidates;
  if (parsed->absolute) {
    candidates.push_back({reference, parsed->path});
  } else {
    for (const std::string& root : roots()) {
      candidates.push_back({reference, wire::StrCat(root, "/", parsed->path)});
    }
  }
  for (const Subject& candidate : candidates) {
    auto file = OpenChecked(roots_, candidate);
    if (file.ok()) {
      auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
      checkpoint->reference = reference;
      checkpoint->files.push_back(*std::move(file));
      return checkpoint;
    }
    if (candidates.size() == 1 ||
        wire::GetReason(file.status()) != wire::Reason::kCheckpointNotFound) {
      return file.status();
    }
  }
  return NotFoundInRoots(reference, roots());
}

}  // namespace modeld::reference
