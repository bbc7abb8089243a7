#include <algorithm>
#include <string>
#include <vector>

#include "cuda/devices.h"
#include "cuda/driver_api.h"
#include "cuda/memory.h"

namespace modeld::gpu {
namespace {

class VmmMemory final : public Memory {
 public:
  explicit VmmMemory(const VmmApi& api) : api_(api) {}

  // What fails leaves the object in a state that Unmap undoes.
  MaybeFailure Map(const ModeldDeviceSegment& segment, int ordinal, int peer);

  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  void* address() const override { return reinterpret_cast<void*>(base_); }

  // The memory belongs to no context. An error is one of a CUDA that is shutting down or of a
  // device that is lost: there is nothing left to undo.
  void Unmap(bool) override {
    CUdeviceptr at = base_;
    for (const uint64_t size_bytes : mapped_) {
      (void)api_.unmap(at, size_bytes);
      at += size_bytes;
    }
    if (base_ != 0) (void)api_.address_free(base_, reserved_bytes_);
  }

 private:
  MaybeFailure MapChunk(int fd, uint64_t offset, uint64_t size_bytes, int ordinal);
  MaybeFailure AllowReading(int ordinal, int peer);

  const VmmApi api_;
  CUdeviceptr base_ = 0;
  uint64_t reserved_bytes_ = 0;
  std::vector<uint64_t> mapped_;
};

std::string Part(uint64_t size_bytes, int ordinal) {
  return std::to_string(size_bytes) + " bytes of " + NameOf(ordinal);
}

MaybeFailure VmmMemory::Map(const ModeldDeviceSegment& segment, int ordinal, int peer) {
  const CUresult error = api_.address_reserve(&base_, segment.size_bytes, 0, 0, 0);
  if (error != CUDA_SUCCESS) {
    base_ = 0;
    return MakeFailure("cannot reserve addresses for " + Part(segment.size_bytes, ordinal), error);
  }
  reserved_bytes_ = segment.size_bytes;
  for (uint64_t i = 0; i < segment.fd_count; ++i) {
    const uint64_t offset = i * segment.chunk_bytes;
    const uint64_t size_bytes = std::min(segment.chunk_bytes, segment.size_bytes - offset);
    if (auto failed = MapChunk(segment.fds[i], offset, size_bytes, ordinal)) return failed;
  }
  return AllowReading(ordinal, peer);
}

MaybeFailure VmmMemory::MapChunk(int fd, uint64_t offset, uint64_t size_bytes, int ordinal) {
  CUmemGenericAllocationHandle handle = 0;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): "the value of the file descriptor itself"
  void* const number = reinterpret_cast<void*>(static_cast<intptr_t>(fd));
  CUresult error = api_.import_handle(&handle, number, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  if (error != CUDA_SUCCESS) {
    return MakeFailure("the driver refuses the handle of " + Part(size_bytes, ordinal), error);
  }
  CUmemAllocationProp properties = {};
  error = api_.properties(&properties, handle);
  MaybeFailure failed;
  if (error != CUDA_SUCCESS) {
    failed = MakeFailure("cannot look at " + Part(size_bytes, ordinal), error);
  } else if (properties.location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
             properties.location.id != ordinal) {
    failed = Failure{"DEVICE_UNAVAILABLE",
                     "what came as memory of " + NameOf(ordinal) +
                         " lies elsewhere (cuda:" + std::to_string(properties.location.id) + ")",
                     "compare the versions of modeld and libmodeld; see `modelctl devices`"};
  } else {
    error = api_.map(base_ + offset, size_bytes, 0, handle, 0);
    if (error != CUDA_SUCCESS)
      failed = MakeFailure("cannot map " + Part(size_bytes, ordinal), error);
  }
  // A mapping keeps the memory by itself.
  (void)api_.release(handle);
  if (!failed) mapped_.push_back(size_bytes);
  return failed;
}

MaybeFailure VmmMemory::AllowReading(int ordinal, int peer) {
  std::vector<CUmemAccessDesc> accesses;
  for (const int reader : {ordinal, peer}) {
    if (reader < 0) continue;
    CUmemAccessDesc access = {};
    access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    access.location.id = reader;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READ;
    accesses.push_back(access);
  }
  const CUresult error = api_.set_access(base_, reserved_bytes_, accesses.data(), accesses.size());
  if (error == CUDA_SUCCESS) return {};
  return MakeFailure("cannot make " + Part(reserved_bytes_, ordinal) + " readable", error);
}

MaybeFailure CheckPeer(int ordinal, int peer) {
  int can_access = 0;
  const std::string what = NameOf(peer) + " cannot read the memory of " + NameOf(ordinal);
  const cudaError_t error = cudaDeviceCanAccessPeer(&can_access, peer, ordinal);
  if (error != cudaSuccess) return MakeFailure(what, error);
  if (can_access != 0) return {};
  return Failure{"DEVICE_UNAVAILABLE", what + ": cudaDeviceCanAccessPeer says no",
                 "acquire the model on the GPU that reads it; nvidia-smi topo -p2p r shows who "
                 "reaches whom"};
}

}  // namespace

MaybeFailure MapVmm(const ModeldDeviceSegment& segment, int ordinal, int peer,
                    std::unique_ptr<Memory>& memory) {
  if (peer >= 0) {
    if (auto failed = CheckPeer(ordinal, peer)) return failed;
  }
  VmmApi api;
  if (auto failed = GetVmmApi(api)) return failed;
  auto mapped = std::make_unique<VmmMemory>(api);
  if (auto failed = mapped->Map(segment, ordinal, peer)) {
    mapped->Unmap(/*has_context=*/true);
    return failed;
  }
  memory = std::move(mapped);
  return {};
}

}  // namespace modeld::gpu
