// A directory as a checkpoint: which of its files, all of them opened as one file is.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/open_checkpoint.h"
#include "reference/checked_open.h"
#include "reference/refusals.h"
#include "reference/roots.h"

namespace modeld::reference {

struct DirectoryFiles {
  std::vector<plan::OpenFile> files;  // weights, then companions
  std::vector<std::string>
      components;  // of a pipeline: subdirectories that are checkpoints, sorted
};

// Opens what ChooseFiles chooses of `directory`. `index` is the shard index that the reference
// names, or empty.
//
// Every file is looked up in the directory that was opened, so all are of that one whatever is
// renamed meanwhile, and each is checked as OpenChecked does: a symlink out of the roots is
// refused. If the directory changes while it is read, it is read again.
//
// Companions that are too large are left out: those of more than 64 MiB, those with which all
// together would be more than 128 MiB, and those that would make more than plan::kMaxFiles files;
// in the order of their names.
//
// The statuses are those of Resolver::Resolve.
absl::StatusOr<DirectoryFiles> OpenDirectory(Roots& roots, const Subject& subject,
                                             const Opened& directory, const std::string& index);

// A checked file as a checkpoint has it. kCheckpointMalformed for an empty one.
absl::StatusOr<plan::OpenFile> AsWeights(const Subject& subject, Opened opened, std::string name);

}  // namespace modeld::reference
