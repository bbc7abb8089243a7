#include "gpu/shared_memory.h"

#include <algorithm>
#include <cstring>

#include "gpu/driver.h"

namespace modeld::gpu_test {
namespace {

CUmemAllocationProp Properties(int ordinal) {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = ordinal;
  return properties;
}

std::string SetAccess(int ordinal, CUdeviceptr base, uint64_t size_bytes, CUmemAccess_flags flags) {
  CUmemAccessDesc access = {};
  access.location = Properties(ordinal).location;
  access.flags = flags;
  return ErrorText(TheDriver().set_access(base, size_bytes, &access, 1));
}

std::string AllocateVmm(int ordinal, uint64_t size_bytes, void** address, Handle* handle) {
  const Driver& driver = TheDriver();
  CUdeviceptr base = 0;
  CUresult error = driver.reserve(&base, size_bytes, 0, 0, 0);
  const CUmemAllocationProp properties = Properties(ordinal);
  for (uint64_t at = 0; at < size_bytes && error == CUDA_SUCCESS; at += kChunkBytes) {
    const uint64_t bytes = std::min(kChunkBytes, size_bytes - at);
    CUmemGenericAllocationHandle chunk = 0;
    error = driver.create(&chunk, bytes, &properties, 0);
    if (error == CUDA_SUCCESS) error = driver.map(base + at, bytes, 0, chunk, 0);
    int fd = -1;
    if (error == CUDA_SUCCESS) {
      error = driver.export_handle(&fd, chunk, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    }
    handle->fds.emplace_back(fd);
  }
  *address = reinterpret_cast<void*>(base);  // NOLINT(performance-no-int-to-ptr)
  if (error != CUDA_SUCCESS) return ErrorText(error);
  return SetAccess(ordinal, base, size_bytes, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

std::string ImportVmm(int ordinal, uint64_t size_bytes, const Handle& handle, void** address) {
  const Driver& driver = TheDriver();
  CUdeviceptr base = 0;
  CUresult error = driver.reserve(&base, size_bytes, 0, 0, 0);
  uint64_t at = 0;
  for (const wire::UniqueFd& fd : handle.fds) {
    const uint64_t bytes = std::min(kChunkBytes, size_bytes - at);
    CUmemGenericAllocationHandle chunk = 0;
    if (error == CUDA_SUCCESS) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr)
      auto* const number = reinterpret_cast<void*>(static_cast<uintptr_t>(fd.get()));
      error = driver.import_handle(&chunk, number, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    }
    if (error == CUDA_SUCCESS) error = driver.map(base + at, bytes, 0, chunk, 0);
    at += bytes;
  }
  *address = reinterpret_cast<void*>(base);  // NOLINT(performance-no-int-to-ptr)
  if (error != CUDA_SUCCESS) return ErrorText(error);
  return SetAccess(ordinal, base, size_bytes, CU_MEM_ACCESS_FLAGS_PROT_READ);
}

}  // namespace

std::string Allocate(Kind kind, int ordinal, uint64_t size_bytes, void** address, Handle* handle) {
  if (kind == Kind::kVmm) {
    if (TheDriver().create == nullptr) return "the driver has no cuMemCreate";
    return AllocateVmm(ordinal, size_bytes, address, handle);
  }
  cudaIpcMemHandle_t exported;
  cudaError_t error = cudaMalloc(address, size_bytes);
  if (error == cudaSuccess) error = cudaIpcGetMemHandle(&exported, *address);
  if (error == cudaSuccess) {
    handle->ipc.assign(reinterpret_cast<const char*>(&exported), sizeof(exported));
  }
  return ErrorText(error);
}

std::string Import(Kind kind, int ordinal, uint64_t size_bytes, const Handle& handle,
                   void** address, std::chrono::nanoseconds* took) {
  const auto began = std::chrono::steady_clock::now();
  std::string error;
  if (kind == Kind::kVmm) {
    error = ImportVmm(ordinal, size_bytes, handle, address);
  } else {
    cudaIpcMemHandle_t opened;
    if (handle.ipc.size() != sizeof(opened)) return "no handle";
    std::memcpy(&opened, handle.ipc.data(), sizeof(opened));
    error = ErrorText(cudaIpcOpenMemHandle(address, opened, cudaIpcMemLazyEnablePeerAccess));
  }
  *took = std::chrono::steady_clock::now() - began;
  return error;
}

}  // namespace modeld::gpu_test
