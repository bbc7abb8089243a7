// The directory of the sockets, which one modeld owns at a time.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "wire/unique_fd.h"

namespace modeld::app {

// Move-only. Holds a lock on modeld.lock, which has the owner's pid, as long as it lives; the
// kernel drops it with the process, so nothing has to be cleaned up after a crash.
class RuntimeDir {
 public:
  // Makes the directory (mode 0750) if it is not there; what is above it must be. `group`: who
  // besides the owner may enter.
  //
  // INVALID_ARGUMENT      a socket in it would have a path of more than 107 bytes
  // FAILED_PRECONDITION   another modeld serves it (named by pid); it is no directory; it belongs
  // to somebody else, or everybody may
  //                       write to it: then others could put their sockets in the place of ours
  // NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE  what the file system says
  static absl::StatusOr<RuntimeDir> Open(const std::string& path, std::optional<gid_t> group);

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const;

 private:
  RuntimeDir(std::string path, wire::UniqueFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  wire::UniqueFd lock_;
};

// The number of a group that is given by name or number. NOT_FOUND.
absl::StatusOr<gid_t> GroupId(const std::string& name);

// Makes a directory (mode 0700) if it is not there. Statuses as for the runtime directory.
absl::Status MakeStateDir(const std::string& path);

}  // namespace modeld::app
