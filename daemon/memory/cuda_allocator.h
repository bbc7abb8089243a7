// Segments in the memory of a GPU.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/segment.h"

namespace modeld::memory {

class PinnedRing;

// How segments of a GPU leave this process, and why so.
struct CudaExport {
  wire::SegmentKind kind = wire::SegmentKind::kCudaVmm;
  std::string note;  // for operators
};

// Tries another process' side of CUDA IPC: opens the handle, and says what went wrong.
using IpcProbe = std::function<absl::Status(const std::string& ipc_handle)>;

// `wish`: `auto`, `vmm` or `ipc`. Finds out by doing it with 2 MiB: with `auto`, descriptors if
// they work, else CUDA IPC. kDeviceUnavailable: what was wished for does not work. REQUIRES:
// OpenCudaDevice.
absl::StatusOr<CudaExport> ProbeCudaExport(const std::string& wish, const IpcProbe& probe_ipc);

// Opens and closes a handle that another process exported: an IpcProbe's work. kDeviceUnavailable.
absl::Status TryIpcHandle(const std::string& ipc_handle);

// REQUIRES: OpenCudaDevice. Thread-safe. The pinned buffers come with the first segment and stay:
// locking 128 MiB takes longer than loading a small model.
class CudaAllocator : public SegmentAllocator {
 public:
  struct Options {
    wire::SegmentKind kind = wire::SegmentKind::kCudaVmm;
    uint64_t pinned_bytes = 4 * (32 << 20);
    // Of VMM allocations: an eviction frees all of a segment anyway, so they are few and large.
    uint64_t chunk_bytes = uint64_t{8} << 30;
  };

  // kDeviceUnavailable: the driver lacks what `kind` needs.
  static absl::StatusOr<std::unique_ptr<CudaAllocator>> Create(Options options);
  ~CudaAllocator() override;

  absl::StatusOr<std::unique_ptr<SegmentFill>> Allocate(const std::string& name,
                                                        uint64_t size_bytes) override;
  absl::StatusOr<ExportedSegment> Adopt(const wire::SegmentInfo& info,
                                        std::vector<wire::UniqueFd> fds) override;
  std::optional<uint64_t> FreeBytes() const override;

 private:
  struct State;

  explicit CudaAllocator(std::unique_ptr<State> state);
  absl::StatusOr<std::shared_ptr<PinnedRing>> Ring();

  const std::unique_ptr<State> state_;
};

}  // namespace modeld::memory
