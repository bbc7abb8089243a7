// Copy ranges as work for readers: cut where they are long, gathered where they are short. Pure.
// Sizes are bytes of the file unless they say otherwise.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/load_plan.h"

namespace modeld::memory {

// Longest stretch of a file that one reader takes at a time.
inline constexpr uint64_t kChunkBytes = 8 << 20;
// Ranges of at least this are read to their place; shorter ones are gathered.
inline constexpr uint64_t kLongRangeBytes = 256 << 10;
// Gathered ranges may lie this far apart in the file: reading over the gap costs less than another
// read.
inline constexpr uint64_t kMaxGapBytes = 4096;

// Where long ranges are cut: at multiples of kChunkBytes of their segment, so that no two readers
// need the same pages of it; or of their file, so that every read begins and ends with a page of
// that. A range that is cast is read by way of a buffer anyway: it is always cut in its segment,
// between elements, at multiples of what a piece of at most kChunkBytes takes on either side.
enum class CutAt { kSegment, kFile };

// A stretch of a file and the ranges whose bytes it holds: either one range of at most kChunkBytes
// in the file and in the segment, which crosses none of the multiples that it is cut at, or several
// short ones.
struct Chunk {
  uint32_t file_index = 0;
  uint64_t file_offset = 0;
  uint64_t size_bytes = 0;
  std::span<const plan::CopyRange> pieces;  // by file offset; into ChunkPlan::pieces
};

// Move-only: the chunks point into the pieces.
struct ChunkPlan {
  ChunkPlan() = default;
  ChunkPlan(ChunkPlan&&) = default;
  ChunkPlan& operator=(ChunkPlan&&) = default;

  std::vector<plan::CopyRange> pieces;
  std::vector<Chunk> chunks;  // in file order
  uint64_t total_bytes = 0;   // of all pieces
};

// INVALID_ARGUMENT when a range is out of order, leaves its file or segment, overlaps another in
// the segment, or is cast and not of whole elements at a place for them: each would be a fault of
// whoever made the plan. O(n log n).
absl::StatusOr<ChunkPlan> MakeChunks(std::span<const plan::CopyRange> ranges,
                                     std::span<const uint64_t> file_sizes,
                                     std::span<const uint64_t> segment_sizes,
                                     CutAt cut = CutAt::kSegment);

}  // namespace modeld::memory
