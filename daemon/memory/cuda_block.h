// Device memory that this process allocated or took over, and can export.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory/cuda_driver.h"
#include "memory/segment.h"

namespace modeld::memory {

// One range of device addresses. Destroying it frees this process' share; nothing of this process
// may still use it. Thread-safe once it is filled.
class CudaBlock : public SegmentShare {
 public:
  CudaBlock(std::byte* address, uint64_t size_bytes) : address_(address), size_bytes_(size_bytes) {}

  std::byte* address() const { return address_; }
  uint64_t size_bytes() const { return size_bytes_; }

  // How other processes get at it; the descriptors belong to the caller. kDeviceUnavailable.
  struct Handles {
    wire::SegmentInfo info;
    std::vector<wire::UniqueFd> fds;
  };
  virtual absl::StatusOr<Handles> Export() = 0;

  absl::Status Read(uint64_t offset, std::span<std::byte> out) const override;

 private:
  std::byte* const address_;
  const uint64_t size_bytes_;
};

// cudaMalloc: exported as a CUDA IPC handle. Any process that opens that may write.
absl::StatusOr<std::unique_ptr<CudaBlock>> AllocateIpcBlock(uint64_t size_bytes);

// cuMemCreate in chunks of `chunk_bytes` behind one range of addresses: exported as descriptors,
// which keep the memory whatever becomes of this process.
absl::StatusOr<std::unique_ptr<CudaBlock>> AllocateVmmBlock(const CudaDriver& driver,
                                                            uint64_t size_bytes,
                                                            uint64_t chunk_bytes);
// Maps what AllocateVmmBlock made in another process. kDeviceUnavailable: they are no descriptors
// of memory on this GPU.
absl::StatusOr<std::unique_ptr<CudaBlock>> ImportVmmBlock(const CudaDriver& driver,
                                                          const wire::SegmentInfo& info,
                                                          const std::vector<wire::UniqueFd>& fds);

}  // namespace modeld::memory
