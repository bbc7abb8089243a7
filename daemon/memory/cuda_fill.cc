#include "memory/cuda_fill.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "memory/cuda_status.h"
#include "wire/checked.h"

namespace modeld::memory {

absl::StatusOr<std::unique_ptr<CudaFill>> CudaFill::Create(std::unique_ptr<CudaBlock> block,
                                                           std::shared_ptr<PinnedRing> ring) {
  // The ring's streams do not wait for the one that this runs on, so it is waited for here.
  absl::Status status =
      CudaStatus(cudaMemset(block->address(), 0, block->size_bytes()), "zeroing memory of the GPU");
  if (status.ok()) status = CudaStatus(cudaDeviceSynchronize(), "zeroing memory of the GPU");
  if (!status.ok()) return status;
  return std::unique_ptr<CudaFill>(new CudaFill(std::move(block), std::move(ring)));
}

CudaFill::~CudaFill() {
  if (block_ != nullptr) ring_->Drain().IgnoreError();
}

absl::StatusOr<Window> CudaFill::Open(uint64_t offset, uint64_t size_bytes, uint64_t like) {
  if (size_bytes == 0 || size_bytes > kMaxWindowBytes ||
      !wire::RangeFits(offset, size_bytes, block_->size_bytes())) {
    return absl::InvalidArgumentError(absl::StrCat("no window of ", size_bytes, " bytes at ",
                                                   offset, " in a segment of ",
                                                   block_->size_bytes()));
  }
  const auto buffer = ring_->Take();
  if (!buffer.ok()) return buffer.status();
  return Window{.data = PinnedRing::Data(**buffer) + like % kWindowAlignmentBytes,
                .offset = offset,
                .size_bytes = size_bytes,
                .buffer = *buffer};
}

absl::Status CudaFill::Close(const Window& window) {
  return ring_->Submit(static_cast<PinnedRing::Buffer*>(window.buffer), window.data,
                       window.size_bytes, block_->address() + window.offset);
}

void CudaFill::Abandon(const Window& window) {
  ring_->PutBack(static_cast<PinnedRing::Buffer*>(window.buffer));
}

absl::StatusOr<ExportedSegment> CudaFill::Export() {
  if (absl::Status status = ring_->Drain(); !status.ok()) return status;
  auto handles = block_->Export();
  if (!handles.ok()) return handles.status();
  ExportedSegment segment;
  segment.info = std::move(handles->info);
  segment.fds = std::move(handles->fds);
  segment.share = std::move(block_);
  return segment;
}

}  // namespace modeld::memory
