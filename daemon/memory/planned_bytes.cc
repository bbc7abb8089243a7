#include "memory/planned_bytes.h"

#include <algorithm>
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
        !wire::CheckedAdd(range.segment_offset, range.size_bytes)) {
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
    return std::tuple(r.segment_index, r.segment_offset + r.size_bytes) <=
           std::tuple(segment, offset);
  });
  for (; range != by_place_.end() && range->segment_index == segment && range->segment_offset < end;
       ++range) {
    const uint64_t from = std::max(offset, range->segment_offset);
    const uint64_t to = std::min(end, range->segment_offset + range->size_bytes);
    const auto out = std::span(buffer_).subspan(from - offset, to - from);
    const uint64_t file_offset = range->file_offset + (from - range->segment_offset);
    if (auto status =
            files_[range->file_index]->ReadBuffered(file_offset, out, [] { return true; });
        !status.ok()) {
      return status;
    }
  }
  return std::span<const std::byte>(buffer_);
}

absl::Status PlannedBytes::CheckUnchanged() const {
  for (const auto& file : files_) {
    if (auto status = file->CheckUnchanged(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace modeld::memory
