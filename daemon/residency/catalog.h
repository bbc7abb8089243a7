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

  // Finds and opens what `reference` names. kFieldInvalid, kCheckpointNotFound, kPathNotAllowed,
  // kFormatUnsupported (a directory, a fifo), kReadFailed, kCheckpointMalformed (an empty file).
  virtual absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference) = 0;

  // Has a sandboxed parser read the header, and lays the tensors out for `device`.
  // kCheckpointMalformed, kFormatUnsupported, kCheckpointChanged, kReadFailed.
  virtual absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(
      const plan::OpenCheckpoint& checkpoint, const std::string& device) = 0;

  // The same, out of what is resident on the host already: reads no disk. RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<HostSource> PlanFromHost(const ResidencyRecord& record,
                                                  const ResidentMemory& memory,
                                                  const std::string& device) = 0;
};

}  // namespace modeld::residency
