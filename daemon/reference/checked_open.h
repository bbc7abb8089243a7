// One path, opened beneath a root or refused.

#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "absl/status/statusor.h"
#include "reference/refusals.h"
#include "reference/roots.h"
#include "wire/unique_fd.h"

namespace modeld::reference {

// How often what changed between two steps is looked up again.
inline constexpr int kMostAttempts = 32;

// A regular file or a directory that lay beneath a root when it was opened.
struct Opened {
  std::string real_path;
  wire::UniqueFd fd;  // O_RDONLY, CLOEXEC, blocking
  struct stat status;

  bool is_directory() const { return S_ISDIR(status.st_mode); }
};

// Looks `subject.path` up with O_PATH, wherever its symlinks lead; the real path of what was found
// must lie under a root; from that root it is opened again without following any symlink and
// without leaving the root, and must be the same inode. Only regular files and directories are
// opened at all.
//
// With `directory`, an open one, its entry `name` is looked up instead, and `subject.path` is what
// that entry is called in messages.
//
// The statuses are those of Resolver::Resolve.
absl::StatusOr<Opened> OpenChecked(Roots& roots, const Subject& subject);
absl::StatusOr<Opened> OpenChecked(Roots& roots, const Subject& subject, int directory,
                                   const std::string& name);

}  // namespace modeld::reference
