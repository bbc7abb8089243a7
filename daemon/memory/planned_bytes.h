// What segments would hold after a load, read from the files without loading.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory/source_file.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"

namespace modeld::memory {

// Externally synchronised. Borrows files and ranges.
class PlannedBytes {
 public:
  static absl::StatusOr<std::unique_ptr<PlannedBytes>> Open(
      std::span<const plan::OpenFile> files, std::span<const plan::CopyRange> ranges);

  // The bytes, until the next call; where no range goes they are zero. INVALID_ARGUMENT: a range
  // that leaves its file. kReadFailed, kCheckpointChanged.
  absl::StatusOr<std::span<const std::byte>> Read(uint32_t segment, uint64_t offset,
                                                  uint64_t size_bytes);

  // kCheckpointChanged when a file is not what it was when it was found.
  absl::Status CheckUnchanged() const;

 private:
  PlannedBytes() = default;

  // `out` from `begin` on of what a range puts into its segment.
  absl::Status ReadRange(const plan::CopyRange& range, uint64_t begin, std::span<std::byte> out);

  std::vector<std::unique_ptr<SourceFile>> files_;
  std::vector<plan::CopyRange> by_place_;  // by segment, then offset
  std::vector<std::byte> buffer_;
  std::vector<std::byte> stored_;
  std::vector<std::byte> cast_;
};

}  // namespace modeld::memory
