// CudaBlock over CUDA virtual memory (CUDA Driver API, "Virtual Memory Management").

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "memory/cuda_block.h"
#include "memory/cuda_status.h"

namespace modeld::memory {
namespace {

constexpr CUdevice kDevice = 0;  // the one that this process can see

CUmemAllocationProp Properties() {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = kDevice;
  return properties;
}

// A reserved range of addresses, and the allocations that are mapped in it so far.
class VmmBlock : public CudaBlock {
 public:
  VmmBlock(const CudaDriver& driver, CUdeviceptr address, const wire::SegmentInfo& info)
      : CudaBlock(reinterpret_cast<std::byte*>(address), info.size_bytes),
        driver_(driver),
        info_(info) {}

  ~VmmBlock() override {
    for (size_t i = 0; i < handles_.size(); ++i) {
      (void)driver_.unmap(AddressOf(i), info_.chunk_size_bytes(i));
      (void)driver_.release(handles_[i]);
    }
    (void)driver_.free_address(base(), size_bytes());
  }

  // Maps the next chunk. The handle is the block's from here on, also when it fails.
  absl::Status Map(CUmemGenericAllocationHandle handle) {
    const size_t index = handles_.size();
    const CUresult mapped =
        driver_.map(AddressOf(index), info_.chunk_size_bytes(index), 0, handle, 0);
    if (mapped != CUDA_SUCCESS) {
      (void)driver_.release(handle);
      return CudaStatus(mapped, "mapping memory of the GPU");
    }
    handles_.push_back(handle);
    return absl::OkStatus();
  }

  // REQUIRES: all chunks are mapped
  absl::Status Allow(CUmemAccess_flags flags) {
    CUmemAccessDesc access = {};
    access.location = Properties().location;
    access.flags = flags;
    return CudaStatus(driver_.set_access(base(), size_bytes(), &access, 1),
                      "setting who may access memory of the GPU");
  }

  absl::StatusOr<Handles> Export() override {
    Handles result;
    result.info = info_;
    for (const CUmemGenericAllocationHandle handle : handles_) {
      int fd = -1;
      absl::Status status = CudaStatus(
          driver_.export_handle(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
          "exporting memory of the GPU as a descriptor");
      if (!status.ok()) return status;
      result.fds.emplace_back(fd);
    }
    // From here on only a mapping of somebody who has the descriptor could write; what this process
    // has asked the GPU to write must be there before.
    absl::Status done = CudaStatus(cudaDeviceSynchronize(), "waiting for the GPU");
    if (!done.ok()) return done;
    if (absl::Status status = Allow(CU_MEM_ACCESS_FLAGS_PROT_READ); !status.ok()) return status;
    return result;
  }

 private:
  CUdeviceptr base() const { return reinterpret_cast<CUdeviceptr>(address()); }
  CUdeviceptr AddressOf(size_t index) const { return base() + index * info_.chunk_bytes; }

  const CudaDriver driver_;
  const wire::SegmentInfo info_;
  std::vector<CUmemGenericAllocationHandle> handles_;
};

absl::StatusOr<std::unique_ptr<VmmBlock>> Reserve(const CudaDriver& driver,
                                                  const wire::SegmentInfo& info) {
  CUdeviceptr address = 0;
  absl::Status status =
      CudaStatus(driver.reserve(&address, info.size_bytes, wire::kSegmentUnitBytes, 0, 0),
                 absl::StrCat("reserving ", info.size_bytes, " bytes of addresses"));
  if (!status.ok()) return status;
  return std::make_unique<VmmBlock>(driver, address, info);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaBlock>> AllocateVmmBlock(const CudaDriver& driver,
                                                            uint64_t size_bytes,
                                                            uint64_t chunk_bytes) {
  wire::SegmentInfo info;
  info.kind = wire::SegmentKind::kCudaVmm;
  info.size_bytes = size_bytes;
  info.page_size_bytes = wire::kSegmentUnitBytes;
  info.chunk_bytes = std::min(chunk_bytes, size_bytes);
  auto block = Reserve(driver, info);
  if (!block.ok()) return block.status();
  const CUmemAllocationProp properties = Properties();
  for (size_t i = 0; i < info.descriptor_count(); ++i) {
    CUmemGenericAllocationHandle handle = 0;
    const uint64_t bytes = info.chunk_size_bytes(i);
    absl::Status status = CudaStatus(driver.create(&handle, bytes, &properties, 0),
                                     absl::StrCat("allocating ", bytes, " bytes on the GPU"));
    if (status.ok()) status = (*block)->Map(handle);
    if (!status.ok()) return status;
  }
  if (auto status = (*block)->Allow(CU_MEM_ACCESS_FLAGS_PROT_READWRITE); !status.ok())
    return status;
  return *std::move(block);
}

absl::StatusOr<std::unique_ptr<CudaBlock>> ImportVmmBlock(const CudaDriver& driver,
                                                          const wire::SegmentInfo& info,
                                                          const std::vector<wire::UniqueFd>& fds) {
  auto block = Reserve(driver, info);
  if (!block.ok()) return block.status();
  for (const wire::UniqueFd& fd : fds) {
    CUmemGenericAllocationHandle handle = 0;
    absl::Status status = CudaStatus(
        driver.import_handle(&handle, reinterpret_cast<void*>(static_cast<uintptr_t>(fd.get())),
                             CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
        "taking over memory of the GPU");
    if (status.ok()) status = (*block)->Map(handle);
    if (!status.ok()) return status;
  }
  if (auto status = (*block)->Allow(CU_MEM_ACCESS_FLAGS_PROT_READ); !status.ok()) return status;
  return *std::move(block);
}

}  // namespace modeld::memory
