// The directories under which checkpoints may lie, kept open.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/mutex.h"
#include "wire/unique_fd.h"

namespace modeld::reference {

// A root as it was when it was opened. Immutable; thread-safe.
struct OpenRoot {
  std::string configured;  // as the configuration says it
  std::string real_path;   // without symlinks, as it was then
  wire::UniqueFd fd;       // O_PATH
  uint64_t device = 0;
  uint64_t inode = 0;
};

// A place beneath a root.
struct PlaceInRoot {
  std::shared_ptr<const OpenRoot> root;
  std::string relative;  // `.` for the root itself; no symlink, no `..`
};

// What /proc says an open descriptor is called; nullopt when it has no name that a path from `/`
// could have (deleted, or in another mount tree). A deleted file's name ends in ` (deleted)` and is
// returned so: opening it again fails.
std::optional<std::string> RealPath(int fd);

// Thread-safe. A root that is missing when it is asked for is asked for again the next time: it may
// be mounted later. A root whose path leads elsewhere by now (a mount, a replaced directory or
// symlink) is opened anew.
class Roots {
 public:
  // Absolute paths, in the order in which relative references try them.
  explicit Roots(std::vector<std::string> configured);

  const std::vector<std::string>& configured() const { return configured_; }

  // The first root that holds `real_path`.
  std::optional<PlaceInRoot> Find(std::string_view real_path);

 private:
  std::shared_ptr<const OpenRoot> Current(size_t index);
  // Current, having asked the file system whether it still is.
  std::shared_ptr<const OpenRoot> Refreshed(size_t index);

  const std::vector<std::string> configured_;
  wire::Mutex mutex_;
  // Null: not open.
  std::vector<std::shared_ptr<const OpenRoot>> open_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::reference
