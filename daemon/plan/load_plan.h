// What has to be copied where to make a checkpoint resident: exact, validated, and made before any
// byte is allocated.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/cast.h"
#include "plan/fingerprint.h"
#include "wire/digest.h"
#include "wire/memfd.h"
#include "wire/reference_table.h"
#include "wire/segment.h"
#include "wire/tensor_table.h"
#include "wire/unique_fd.h"

namespace modeld::plan {

// `size_bytes` bytes of a file to a place in a segment, as they are or cast on their way.
struct CopyRange {
  uint32_t file_index = 0;
  uint64_t file_offset = 0;
  uint32_t segment_index = 0;
  uint64_t segment_offset = 0;
  uint64_t size_bytes = 0;   // of the file
  std::optional<Cast> cast;  // of whole elements, to a place that is aligned for them

  // What it takes in the segment. REQUIRES: it does not overflow (memory::MakeChunks checks that)
  uint64_t placed_bytes() const {
    return cast ? size_bytes / cast->from_bytes() * cast->to_bytes() : size_bytes;
  }

  bool operator==(const CopyRange&) const = default;
};

// A validated tensor table in a sealed memfd, mapped. Immutable; thread-safe.
class SealedTable {
 public:
  // Seals the bytes into a memfd of that name. What Validate says, or RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::shared_ptr<const SealedTable>> Make(
      const std::string& bytes, const wire::ValidateOptions& options);
  // Takes a memfd that must be sealed already and be `size_bytes` long.
  static absl::StatusOr<std::shared_ptr<const SealedTable>> FromFd(
      wire::UniqueFd fd, uint64_t size_bytes, const wire::ValidateOptions& options);

  int fd() const { return fd_.get(); }
  uint64_t size_bytes() const { return mapping_.size_bytes(); }
  const wire::TableView& view() const { return view_; }

 private:
  SealedTable(wire::UniqueFd fd, wire::Mapping mapping, wire::TableView view)
      : fd_(std::move(fd)), mapping_(std::move(mapping)), view_(view) {}

  wire::UniqueFd fd_;
  wire::Mapping mapping_;
  wire::TableView view_;
};

// A validated reference table in a sealed memfd, mapped. Immutable; thread-safe.
class SealedReferenceTable {
 public:
  // As SealedTable.
  static absl::StatusOr<std::shared_ptr<const SealedReferenceTable>> Make(const std::string& bytes);
  static absl::StatusOr<std::shared_ptr<const SealedReferenceTable>> FromFd(wire::UniqueFd fd,
                                                                            uint64_t size_bytes);

  int fd() const { return fd_.get(); }
  uint64_t size_bytes() const { return mapping_.size_bytes(); }
  const wire::ReferenceTable& view() const { return view_; }

 private:
  SealedReferenceTable(wire::UniqueFd fd, wire::Mapping mapping, wire::ReferenceTable view)
      : fd_(std::move(fd)), mapping_(std::move(mapping)), view_(view) {}

  wire::UniqueFd fd_;
  wire::Mapping mapping_;
  wire::ReferenceTable view_;
};

// What a checkpoint's tensors hold, after the load configuration.
struct ContentDigests {
  wire::Digest weights;
  std::vector<wire::Digest> tensors;  // in table order
};

// Immutable after it is made.
struct LoadPlan {
  std::string format;  // `safetensors`
  std::vector<uint64_t>
      segment_sizes;              // multiples of wire::kSegmentUnitBytes; the unused tail is zero
  std::vector<CopyRange> ranges;  // sorted by file, then file offset; disjoint in the segments
  std::shared_ptr<const SealedTable> table;
  std::shared_ptr<const SealedReferenceTable> reference_table;  // null: empty
  Fingerprint fingerprint;
  std::shared_ptr<const ContentDigests> digests;  // null: not known before it is read

  uint64_t resident_bytes() const;  // sum of segment_sizes
};

}  // namespace modeld::plan
