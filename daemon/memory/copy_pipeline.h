// From files to memory: the loading pipeline.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "memory/segment.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"

namespace modeld::memory {

struct CopyOptions {
  // Readers; 0: as many as processors, at most 4.
  int thread_count = 0;
  // Bytes of the files that are in place, of all that are to be. At most ten calls a second, all
  // from the thread that called.
  std::function<void(uint64_t bytes_done)> on_progress;
  // Set by anyone, at any time: ends the copy with CANCELLED within about 50 ms of what the disk
  // takes to answer.
  const std::atomic<bool>* cancelled = nullptr;
};

struct CopyStats {
  uint64_t direct_bytes = 0;    // read past the page cache
  uint64_t buffered_bytes = 0;  // read through it
  uint64_t nanos = 0;

  // `direct`, `buffered` or `mixed`
  std::string_view Mode() const;
};

// Copies the ranges from the files into the segments with a few threads that end before it returns,
// and keeps no memory.
//
// Each chunk is read directly where it is not in the page cache, and to its place where its offsets
// agree modulo kWindowAlignmentBytes; only whole pages inside a range are, so that nothing beside
// it is touched. What is cast goes by way of a buffer, and from there into its place. In the end
// every file must be what it was when it was opened.
//
// INVALID_ARGUMENT (see MakeChunks), kCheckpointChanged, kReadFailed, kBudgetExceeded,
// kLimitReached, CANCELLED.
absl::StatusOr<CopyStats> CopyRanges(std::span<const plan::OpenFile> files,
                                     std::span<const plan::CopyRange> ranges,
                                     std::span<const std::unique_ptr<SegmentFill>> segments,
                                     const CopyOptions& options);

struct LoadedSegments {
  std::vector<ExportedSegment> segments;
  CopyStats stats;
};

// Allocates, copies and exports. What it allocated is given back on every error.
absl::StatusOr<LoadedSegments> LoadSegments(SegmentAllocator& allocator, const std::string& name,
                                            std::span<const plan::OpenFile> files,
                                            std::span<const plan::CopyRange> ranges,
                                            std::span<const uint64_t> segment_sizes,
                                            const CopyOptions& options);

}  // namespace modeld::memory
