// Segments in host memory: memfds that workers map.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "memory/page_choice.h"
#include "memory/segment.h"

namespace modeld::memory {

// Windows are the segment's own memory. A page comes with the first window that touches it, on the
// thread that opened it: with several readers, zeroing pages and waiting for the disk overlap.
class HostAllocator : public SegmentAllocator {
 public:
  explicit HostAllocator(PageChoice pages) : pages_(std::move(pages)) {}

  absl::StatusOr<std::unique_ptr<SegmentFill>> Allocate(const std::string& name,
                                                        uint64_t size_bytes) override;
  absl::StatusOr<ExportedSegment> Adopt(const wire::SegmentInfo& info,
                                        std::vector<wire::UniqueFd> fds) override;
  // The machine's free memory says nothing about segments: others use it, and the page cache.
  std::optional<uint64_t> FreeBytes() const override { return std::nullopt; }

  const PageChoice& pages() const { return pages_; }

 private:
  const PageChoice pages_;
};

}  // namespace modeld::memory
