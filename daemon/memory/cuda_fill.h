// A segment on a GPU that is being filled.

#pragma once

#include <memory>

#include "memory/cuda_block.h"
#include "memory/cuda_ring.h"
#include "memory/segment.h"

namespace modeld::memory {

// Windows are pinned buffers; Close starts the copy of one, and Export waits for all. Its memory is
// zero where nothing was written.
class CudaFill : public SegmentFill {
 public:
  // Zeroes the block. kDeviceLost.
  static absl::StatusOr<std::unique_ptr<CudaFill>> Create(std::unique_ptr<CudaBlock> block,
                                                          std::shared_ptr<PinnedRing> ring);
  // Waits for copies that are under way.
  ~CudaFill() override;

  uint64_t size_bytes() const override { return block_->size_bytes(); }
  bool staged() const override { return true; }
  using SegmentFill::Open;
  absl::StatusOr<Window> Open(uint64_t offset, uint64_t size_bytes, uint64_t like) override;
  absl::Status Close(const Window& window) override;
  void Abandon(const Window& window) override;
  absl::StatusOr<ExportedSegment> Export() override;

 private:
  CudaFill(std::unique_ptr<CudaBlock> block, std::shared_ptr<PinnedRing> ring)
      : ring_(std::move(ring)), block_(std::move(block)) {}

  const std::shared_ptr<PinnedRing> ring_;
  std::unique_ptr<CudaBlock> block_;
};

}  // namespace modeld::memory
