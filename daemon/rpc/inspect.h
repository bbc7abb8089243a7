// What InspectCheckpoint needs from the rest of the daemon.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"

namespace modeld::rpc {

// What a checkpoint's header says.
struct InspectResult {
  std::shared_ptr<const plan::OpenCheckpoint> checkpoint;
  std::string format;
  std::shared_ptr<const plan::SealedTable> source_table;  // region i is file i of the checkpoint
  std::shared_ptr<const plan::SealedReferenceTable> reference_table;
  uint64_t resident_bytes = 0;  // that it would occupy on the host
};

// Finds a checkpoint and reads its header; loads nothing. May block. Thread-safe. Refuses as
// CheckpointCatalog does.
using InspectFunction = std::function<absl::StatusOr<InspectResult>(const std::string& reference)>;

}  // namespace modeld::rpc
