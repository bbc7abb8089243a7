#include "memory/cuda_allocator.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory/cuda_block.h"
#include "memory/cuda_fill.h"
#include "memory/cuda_ring.h"
#include "memory/cuda_status.h"
#include "wire/mutex.h"

namespace modeld::memory {
namespace {

constexpr uint64_t kProbeBytes = wire::kSegmentUnitBytes;
constexpr std::byte kProbeValue{0x5a};

absl::Status ProbeVmm() {
  const auto driver = CudaDriver::Load();
  if (!driver.ok()) return driver.status();
  auto block = AllocateVmmBlock(*driver, kProbeBytes, kProbeBytes);
  if (!block.ok()) return block.status();
  absl::Status status =
      CudaStatus(cudaMemset((*block)->address(), static_cast<int>(kProbeValue), kProbeBytes),
                 "writing to memory of the GPU");
  if (!status.ok()) return status;
  const auto handles = (*block)->Export();
  if (!handles.ok()) return handles.status();
  const auto imported = ImportVmmBlock(*driver, handles->info, handles->fds);
  if (!imported.ok()) return imported.status();
  std::byte seen{};
  status = (*imported)->Read(kProbeBytes - 1, {&seen, 1});
  if (status.ok() && seen != kProbeValue) {
    status = absl::DataLossError("memory that was taken over has other bytes");
  }
  return status;
}

absl::Status ProbeIpc(const IpcProbe& probe) {
  const auto block = AllocateIpcBlock(kProbeBytes);
  if (!block.ok()) return block.status();
  const auto handles = (*block)->Export();
  return handles.ok() ? probe(handles->info.ipc_handle) : handles.status();
}

// `vmm: ...`
std::string Note(std::string_view what, const absl::Status& status) {
  return absl::StrCat(std::string(what), status.ok() ? " works" : ": ",
                      std::string(status.message()));
}

}  // namespace

absl::StatusOr<CudaExport> ProbeCudaExport(const std::string& wish, const IpcProbe& probe_ipc) {
  const absl::Status vmm =
      wish == "ipc" ? absl::CancelledError("not tried, export = \"ipc\"") : ProbeVmm();
  if (vmm.ok()) {
    return CudaExport{wire::SegmentKind::kCudaVmm,
                      "mappings are read-only and outlive the agent; ipc was not tried"};
  }
  if (wish == "vmm") return vmm;
  const absl::Status ipc = ProbeIpc(probe_ipc);
  if (ipc.ok()) {
    return CudaExport{
        wire::SegmentKind::kCudaIpc,
        absl::StrCat("mappings are writable and end with the agent (", Note("vmm", vmm), ")")};
  }
  return absl::Status(ipc.code(), absl::StrCat("memory of the GPU cannot be shared. ",
                                               Note("vmm", vmm), "; ", Note("ipc", ipc)));
}

absl::Status TryIpcHandle(const std::string& ipc_handle) {
  cudaIpcMemHandle_t handle;
  if (ipc_handle.size() != sizeof(handle)) return absl::InvalidArgumentError("no CUDA IPC handle");
  std::memcpy(&handle, ipc_handle.data(), sizeof(handle));
  void* address = nullptr;
  absl::Status status =
      CudaStatus(cudaIpcOpenMemHandle(&address, handle, cudaIpcMemLazyEnablePeerAccess),
                 "opening a CUDA IPC handle of another process");
  if (!status.ok()) return status;
  return CudaStatus(cudaIpcCloseMemHandle(address), "closing a CUDA IPC handle");
}

struct CudaAllocator::State {
  Options options;
  CudaDriver driver;  // with kCudaVmm

  wire::Mutex mutex;
  std::shared_ptr<PinnedRing> ring MODELD_GUARDED_BY(mutex);
};

CudaAllocator::CudaAllocator(std::unique_ptr<State> state) : state_(std::move(state)) {}
CudaAllocator::~CudaAllocator() = default;

absl::StatusOr<std::unique_ptr<CudaAllocator>> CudaAllocator::Create(Options options) {
  auto state = std::make_unique<State>();
  state->options = options;
  if (options.kind == wire::SegmentKind::kCudaVmm) {
    const auto driver = CudaDriver::Load();
    if (!driver.ok()) return driver.status();
    state->driver = *driver;
  }
  return std::unique_ptr<CudaAllocator>(new CudaAllocator(std::move(state)));
}

absl::StatusOr<std::shared_ptr<PinnedRing>> CudaAllocator::Ring() {
  wire::MutexLock lock(state_->mutex);
  if (state_->ring == nullptr) {
    auto ring = PinnedRing::Create(state_->options.pinned_bytes);
    if (!ring.ok()) return ring.status();
    state_->ring = *std::move(ring);
  }
  return state_->ring;
}

absl::StatusOr<std::unique_ptr<SegmentFill>> CudaAllocator::Allocate(const std::string& name,
                                                                     uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes % wire::kSegmentUnitBytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a segment of ", size_bytes, " bytes is no multiple of ", wire::kSegmentUnitBytes));
  }
  auto ring = Ring();
  if (!ring.ok()) return ring.status();
  auto block = state_->options.kind == wire::SegmentKind::kCudaVmm
                   ? AllocateVmmBlock(state_->driver, size_bytes, state_->options.chunk_bytes)
                   : AllocateIpcBlock(size_bytes);
  if (!block.ok()) return block.status();
  return CudaFill::Create(*std::move(block), *std::move(ring));
}

absl::StatusOr<ExportedSegment> CudaAllocator::Adopt(const wire::SegmentInfo& info,
                                                     std::vector<wire::UniqueFd> fds) {
  if (info.kind != wire::SegmentKind::kCudaVmm ||
      state_->options.kind != wire::SegmentKind::kCudaVmm) {
    return absl::InvalidArgumentError(absl::StrCat("a segment of kind ",
                                                   wire::SegmentKindName(info.kind),
                                                   " cannot be taken over from another agent"));
  }
  auto block = ImportVmmBlock(state_->driver, info, fds);
  if (!block.ok()) return block.status();
  ExportedSegment segment;
  segment.info = info;
  segment.fds = std::move(fds);
  segment.share = *std::move(block);
  return segment;
}

std::optional<uint64_t> CudaAllocator::FreeBytes() const {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) return std::nullopt;
  return free_bytes;
}

}  // namespace modeld::memory
