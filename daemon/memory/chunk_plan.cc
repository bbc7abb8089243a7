#include "memory/chunk_plan.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "wire/checked.h"

namespace modeld::memory {
namespace {

using plan::CopyRange;

absl::Status Wrong(size_t index, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("copy range ", index, " ", what));
}

// After it placed_bytes() is what it says.
absl::Status CheckCast(size_t index, const CopyRange& range) {
  if (!range.cast) return absl::OkStatus();
  if (!plan::CanCast(*range.cast)) return Wrong(index, "is cast as nobody can");
  const uint64_t from_bytes = range.cast->from_bytes();
  const uint64_t to_bytes = range.cast->to_bytes();
  if (range.size_bytes % from_bytes != 0 || range.segment_offset % to_bytes != 0) {
    return Wrong(index, "is cast and not of whole elements");
  }
  if (!wire::CheckedMul(range.size_bytes / from_bytes, to_bytes)) {
    return Wrong(index, "is too large for its cast");
  }
  return absl::OkStatus();
}

absl::Status CheckBounds(std::span<const CopyRange> ranges, std::span<const uint64_t> file_sizes,
                         std::span<const uint64_t> segment_sizes) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    const CopyRange& range = ranges[i];
    if (range.file_index >= file_sizes.size()) return Wrong(i, "names a file that is not there");
    if (range.segment_index >= segment_sizes.size()) {
      return Wrong(i, "names a segment that is not there");
    }
    if (!wire::RangeFits(range.file_offset, range.size_bytes, file_sizes[range.file_index])) {
      return Wrong(i, "ends past its file");
    }
    if (auto status = CheckCast(i, range); !status.ok()) return status;
    if (!wire::RangeFits(range.segment_offset, range.placed_bytes(),
                         segment_sizes[range.segment_index])) {
      return Wrong(i, "ends past its segment");
    }
    if (i > 0 && std::tie(range.file_index, range.file_offset) <
                     std::tie(ranges[i - 1].file_index, ranges[i - 1].file_offset)) {
      return Wrong(i, "is out of order");
    }
  }
  return absl::OkStatus();
}

// Two readers must never write to one place.
absl::Status CheckDisjoint(std::span<const CopyRange> ranges) {
  std::vector<size_t> order;
  order.reserve(ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (ranges[i].size_bytes > 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tie(ranges[a].segment_index, ranges[a].segment_offset) <
           std::tie(ranges[b].segment_index, ranges[b].segment_offset);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const CopyRange& before = ranges[order[i - 1]];
    const CopyRange& range = ranges[order[i]];
    if (range.segment_index == before.segment_index &&
        range.segment_offset - before.segment_offset < before.placed_bytes()) {
      return Wrong(order[i], absl::StrCat("overlaps range ", order[i - 1], " in the segment"));
    }
  }
  return absl::OkStatus();
}

// Where the pieces of a chunk begin and how many there are: spans come last, when the vector stands
// still.
struct Extent {
  size_t first = 0;
  size_t count = 0;
};

class Chunker {
 public:
  explicit Chunker(CutAt cut) : cut_(cut) {}

  void Add(const CopyRange& range) {
    if (range.size_bytes == 0) return;
    plan_.total_bytes += range.size_bytes;
    if (range.size_bytes >= kLongRangeBytes) {
      Cut(range);
    } else if (!Gather(range)) {
      Begin(range);
      gathering_ = true;
    }
  }

  ChunkPlan Finish() {
    for (size_t i = 0; i < extents_.size(); ++i) {
      plan_.chunks[i].pieces =
          std::span(plan_.pieces).subspan(extents_[i].first, extents_[i].count);
    }
    return std::move(plan_);
  }

 private:
  void Cut(CopyRange rest) {
    while (rest.size_bytes > 0) {
      CopyRange piece = rest;
      piece.size_bytes = std::min(rest.size_bytes, UpToNextCut(rest));
      Begin(piece);
      rest.file_offset += piece.size_bytes;
      rest.segment_offset += piece.placed_bytes();
      rest.size_bytes -= piece.size_bytes;
    }
    gathering_ = false;
  }

  uint64_t UpToNextCut(const CopyRange& range) const {
    if (range.cast) {
      const uint64_t from_bytes = range.cast->from_bytes();
      const uint64_t to_bytes = range.cast->to_bytes();
      const uint64_t every = kChunkBytes / std::max(from_bytes, to_bytes) * to_bytes;
      return (every - range.segment_offset % every) / to_bytes * from_bytes;
    }
    const uint64_t offset = cut_ == CutAt::kFile ? range.file_offset : range.segment_offset;
    return kChunkBytes - offset % kChunkBytes;
  }

  bool Gather(const CopyRange& range) {
    if (!gathering_) return false;
    Chunk& chunk = plan_.chunks.back();
    const uint64_t end = chunk.file_offset + chunk.size_bytes;
    const uint64_t new_size = range.file_offset + range.size_bytes - chunk.file_offset;
    if (range.file_index != chunk.file_index || range.file_offset < end ||
        range.file_offset - end > kMaxGapBytes || new_size > kChunkBytes) {
      return false;
    }
    plan_.pieces.push_back(range);
    chunk.size_bytes = new_size;
    ++extents_.back().count;
    return true;
  }

  void Begin(const CopyRange& piece) {
    plan_.chunks.push_back({piece.file_index, piece.file_offset, piece.size_bytes, {}});
    extents_.push_back({plan_.pieces.size(), 1});
    plan_.pieces.push_back(piece);
  }

  const CutAt cut_;
  ChunkPlan plan_;
  std::vector<Extent> extents_;
  bool gathering_ = false;  // the last chunk takes more short ranges
};

}  // namespace

absl::StatusOr<ChunkPlan> MakeChunks(std::span<const CopyRange> ranges,
                                     std::span<const uint64_t> file_sizes,
                                     std::span<const uint64_t> segment_sizes, CutAt cut) {
  if (auto status = CheckBounds(ranges, file_sizes, segment_sizes); !status.ok()) return status;
  if (auto status = CheckDisjoint(ranges); !status.ok()) return status;
  Chunker chunker(cut);
  for (const CopyRange& range : ranges) chunker.Add(range);
  return chunker.Finish();
}

}  // namespace modeld::memory
