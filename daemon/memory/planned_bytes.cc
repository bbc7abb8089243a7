#include "memory/planned_bytes.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "memory/chunk_plan.h"
#include "wire/checked.h"

namespace modeld::memory {

absl::StatusOr<std::unique_ptr<PlannedBytes>> PlannedBytes::Open(
    std::span<const plan::OpenFile> files, std::span<const plan::CopyRange> ranges) {
  auto planned = std::unique_ptr<PlannedBytes>(new PlannedBytes);
  for (const plan::OpenFile& file : files) {
    planned->files_.push_back(std::make_unique<SourceFile>(file));
  }
  planned->by_place_.assign(ranges.begin(), ranges.end());
  for (const plan::CopyRange& range : ranges) {
    if (range.file_index >= files.size() ||
        !wire::RangeFits(range.file_offset, range.size_bytes,
                         files[range.file_index].identity.size_bytes) ||
        (range.cast && !plan::CanCast(*range.cast)) ||
        !wire::CheckedAdd(range.segment_offset, range.size_bytes) ||
        !wire::CheckedAdd(range.segment_offset, range.placed_bytes())) {
      return absl::InvalidArgumentError("a copy range that leaves its file");
    }
  }
  std::ranges::sort(planned->by_place_, [](const plan::CopyRange& a, const plan::CopyRange& b) {
    return std::tie(a.segment_index, a.segment_offset) <
           std::tie(b.segment_index, b.segment_offset);
  });
  return planned;
}

absl::StatusOr<std::span<const std::byte>> PlannedBytes::Read(uint32_t segment, uint64_t offset,
                                                              uint64_t size_bytes) {
  buffer_.assign(size_bytes, std::byte{0});
  const uint64_t end = offset + size_bytes;
  auto range = std::ranges::partition_point(by_place_, [&](const plan::CopyRange& r) {
    return std::tuple(r.segment_index, r.segment_offset + r.placed_bytes()) <=
           std::tuple(segment, offset);
  });
  for (; range != by_place_.end() && range->segment_index == segment && range->segment_offset < end;
       ++range) {
    const uint64_t from = std::max(offset, range->segment_offset);
    const uint64_t to = std::min(end, range->segment_offset + range->placed_bytes());
    const auto out = std::span(buffer_).subspan(from - offset, to - from);
    if (auto status = ReadRange(*range, from - range->segment_offset, out); !status.ok()) {
      return status;
    }
  }
  return std::span<const std::byte>(buffer_);
}

absl::Status PlannedBytes::ReadRange(const plan::CopyRange& range, uint64_t begin,
                                     std::span<std::byte> out) {
  const SourceFile& file = *files_[range.file_index];
  const auto keep_going = [] { return true; };
  if (!range.cast) return file.ReadBuffered(range.file_offset + begin, out, keep_going);
  // The elements of which `out` has a part.
  const uint64_t to_bytes = range.cast->to_bytes();
  const uint64_t first = begin / to_bytes;
  const uint64_t last = (begin + out.size() + to_bytes - 1) / to_bytes;
  stored_.resize((last - first) * range.cast->from_bytes());
  cast_.resize((last - first) * to_bytes);
  const uint64_t file_offset = range.file_offset + first * range.cast->from_bytes();
  if (auto status = file.ReadBuffered(file_offset, stored_, keep_going); !status.ok()) {
    return status;
  }
  plan::CastElements(*range.cast, stored_, cast_);
  std::memcpy(out.data(), cast_.data() + (begin - first * to_bytes), out.size());
  return absl::OkStatus();
}

absl::Status PlannedBytes::CheckUnchanged() const {
  for (const auto& file : files_) {
    if (auto status = file->CheckUnchanged(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace modeld::memory
