// How the residency domain learns what a reference means and what a checkpoint holds.

#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"

namespace modeld::residency {

// Thread-safe. Both calls may block on a file system or a child process: call them on an executor.
class CheckpointCatalog {
 public:
  virtual ~CheckpointCatalog() = default;

  // Finds and opens what `reference` names. kFieldInvalid, kCheckpointNotFound, kPathNotAllowed,
  // kFormatUnsupported (a directory, a fifo), kReadFailed, kCheckpointMalformed (an empty file).
  virtual absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference) = 0;

  // Has a sandboxed parser read the header, and lays the tensors out for `device`.
  // kCheckpointMalformed, kFormatUnsupported, kCheckpointChanged, kReadFailed.
  virtual absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(
      const plan::OpenCheckpoint& checkpoint, const std::string& device) = 0;
};

}  // namespace modeld::residency
