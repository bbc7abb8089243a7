// How the residency domain learns what a reference means and what a checkpoint holds.

#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"
#include "residency/device_backend.h"

namespace modeld::residency {

// A copy on the host as if it were a checkpoint: its segments are the files.
struct HostSource {
  std::shared_ptr<const plan::OpenCheckpoint> checkpoint;
  std::shared_ptr<const plan::LoadPlan> plan;
};

// Thread-safe. Resolve and Plan may block on a file system or a child process: call them on an
// executor.
class CheckpointCatalog {
 public:
  virtual ~CheckpointCatalog() = default;

  // Finds and opens what `reference` names; `config` says what of it is wanted. kFieldInvalid,
  // kCheckpointNotFound, kPathNotAllowed, kFormatUnsupported (a directory, a fifo), kReadFailed,
  // kLimitReached, kCheckpointMalformed (an empty file).
  virtual absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference, const plan::LoadConfig& config) = 0;

  // Has a sandboxed parser read the header, and lays the tensors out for `device`. The plan has the
  // digests if they are known from an earlier load of the same files.
  // kCheckpointMalformed, kFormatUnsupported, kCheckpointChanged, kReadFailed, kLimitReached.
  virtual absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(
      const plan::OpenCheckpoint& checkpoint, const std::string& device) = 0;

  // The same, out of what is resident on the host already: reads no disk. RESOURCE_EXHAUSTED.
  // `content` may be null: what it holds is not known yet.
  virtual absl::StatusOr<HostSource> PlanFromHost(
      const ResidencyRecord& record, const ResidentMemory& memory,
      std::shared_ptr<const plan::ContentDigests> content, const std::string& device) = 0;

  // What a content turned out to be, for later plans of the same. Not for files that were modified
  // just before they were opened. Blocks on a disk; a failure is only a cache that does not help.
  virtual void RememberDigests(const std::string& content_key,
                               const plan::ContentDigests& digests) = 0;
};

}  // namespace modeld::residency
