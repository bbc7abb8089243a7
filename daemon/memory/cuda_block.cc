#include "memory/cuda_block.h"

#include "absl/strings/str_cat.h"
#include "memory/cuda_status.h"
#include "wire/checked.h"

namespace modeld::memory {
namespace {

class IpcBlock : public CudaBlock {
 public:
  using CudaBlock::CudaBlock;
  ~IpcBlock() override { (void)cudaFree(address()); }

  absl::StatusOr<Handles> Export() override {
    cudaIpcMemHandle_t handle;
    static_assert(sizeof(handle) == wire::kIpcHandleBytes);
    absl::Status status =
        CudaStatus(cudaIpcGetMemHandle(&handle, address()),
                   absl::StrCat("exporting ", size_bytes(), " bytes by CUDA IPC"));
    if (!status.ok()) return status;
    Handles handles;
    handles.info.kind = wire::SegmentKind::kCudaIpc;
    handles.info.size_bytes = size_bytes();
    handles.info.page_size_bytes = wire::kSegmentUnitBytes;
    handles.info.ipc_handle.assign(handle.reserved, sizeof(handle.reserved));
    return handles;
  }
};

}  // namespace

absl::Status CudaBlock::Read(uint64_t offset, std::span<std::byte> out) const {
  if (!wire::RangeFits(offset, out.size(), size_bytes_)) {
    return absl::InvalidArgumentError(
        absl::StrCat("no ", out.size(), " bytes at ", offset, " in a segment of ", size_bytes_));
  }
  return CudaStatus(cudaMemcpy(out.data(), address_ + offset, out.size(), cudaMemcpyDeviceToHost),
                    absl::StrCat("reading ", out.size(), " bytes back from the GPU"));
}

absl::StatusOr<std::unique_ptr<CudaBlock>> AllocateIpcBlock(uint64_t size_bytes) {
  void* address = nullptr;
  absl::Status status = CudaStatus(cudaMalloc(&address, size_bytes),
                                   absl::StrCat("allocating ", size_bytes, " bytes on the GPU"));
  if (!status.ok()) return status;
  return std::make_unique<IpcBlock>(static_cast<std::byte*>(address), size_bytes);
}

}  // namespace modeld::memory
