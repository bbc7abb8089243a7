// From what a config says to open, checked descriptors and a stat identity.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/open_checkpoint.h"
#include "reference/parse_reference.h"
#include "reference/roots.h"

namespace modeld::reference {

struct ResolverOptions {
  // Absolute directories, in the order in which relative references try them. They need not exist
  // yet.
  std::vector<std::string> roots;
};

// Opens checkpoints that lie under the configured roots, and nothing else.
//
// A path is looked up with O_PATH, wherever its symlinks lead; the real path of what was found must
// lie under one of the roots (any of them: roots may link into each other, and a Hugging Face cache
// is made of symlinks); from that root it is opened again without following any symlink and without
// leaving the root, and must be the same inode. So whatever is renamed or relinked meanwhile, what
// is returned lay under a root when it was opened. Only regular files and directories are
// opened at all. Of a directory, every file goes through the same check (directory.h).
//
// Thread-safe. Blocks as long as the file system does; a resolve that succeeds takes about 20
// microseconds on a local one.
class Resolver {
 public:
  explicit Resolver(ResolverOptions options);

  // What ParseReference accepts: a file; a directory or the index of a sharded checkpoint, with the
  // files that belong to it. A relative reference is what the first root has that has it, or else
  // a model of a Hugging Face cache (hub_cache.h).
  //
  // kFieldInvalid        the reference can name no file, or a directory holds several checkpoints
  // kPathNotAllowed      it leads outside the roots, whether something is there or not
  // kCheckpointNotFound  nothing there, or a shard is missing
  // kFormatUnsupported   a fifo, socket or device, or a directory without anything to read
  // kReadFailed          this process may not read it, or the file system failed
  // kLimitReached        this process, or the machine, has too many files open
  // kCheckpointMalformed the file is empty
  // kCheckpointChanged   it kept changing places while it was opened: worth another try
  absl::StatusOr<std::shared_ptr<plan::OpenCheckpoint>> Resolve(const std::string& reference);

  const std::vector<std::string>& roots() const { return roots_.configured(); }

 private:
  Roots roots_;
};

}  // namespace modeld::reference
