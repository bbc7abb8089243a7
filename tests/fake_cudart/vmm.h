// Virtual memory management: memory, addresses and access apart from one another, as cuda.h
// describes them under cuMemCreate, cuMemMap and cuMemSetAccess.

#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/mutex.h"
#include "wire/unique_fd.h"

namespace fake_cudart {

// Thread-safe. Strict: whatever cuda.h does not promise is CUDA_ERROR_INVALID_VALUE.
//
// Memory lives until its handles are released, its mappings unmapped, and its exported descriptors
// closed, here and in every other process. It needs no context.
class Vmm {
 public:
  static Vmm& Get();

  CUresult Create(CUmemGenericAllocationHandle& handle, size_t size_bytes,
                  const CUmemAllocationProp& prop);
  CUresult Release(CUmemGenericAllocationHandle handle);
  // The handle of what is mapped there, counted once more.
  CUresult Retain(CUmemGenericAllocationHandle& handle, const void* address);
  // Only memory that was created for it has a descriptor to export. It is a duplicate, CLOEXEC,
  // and the caller's.
  CUresult Export(int& fd, CUmemGenericAllocationHandle handle);
  // A handle of its own, which keeps a duplicate: the caller may close `fd`.
  // CUDA_ERROR_INVALID_DEVICE when the memory is of a GPU that this process does not see.
  CUresult Import(CUmemGenericAllocationHandle& handle, int fd);
  CUresult Properties(CUmemAllocationProp& prop, CUmemGenericAllocationHandle handle);

  CUresult Reserve(CUdeviceptr& pointer, size_t size_bytes, size_t alignment_bytes,
                   CUdeviceptr hint);
  // Refused while something is mapped there.
  CUresult Free(CUdeviceptr pointer, size_t size_bytes);
  // The whole of the memory at once. Nobody may access it yet.
  CUresult Map(CUdeviceptr pointer, size_t size_bytes, size_t offset,
               CUmemGenericAllocationHandle handle);
  // Whole mappings, one or several in a row, after all work of all devices.
  CUresult Unmap(CUdeviceptr pointer, size_t size_bytes);
  CUresult SetAccess(CUdeviceptr pointer, size_t size_bytes, const CUmemAccessDesc& access);
  CUresult GetAccess(uint64_t& flags, const CUmemLocation& location, CUdeviceptr pointer);

 private:
  struct Allocation {
    CUmemGenericAllocationHandle handle = 0;
    uint64_t references = 0;
    modeld::wire::UniqueFd memfd;
    uint64_t size_bytes = 0;
    int device = 0;
    bool exportable = false;
  };

  CUmemGenericAllocationHandle Enter(std::shared_ptr<Allocation> allocation);
  // Null when it was released to the end.
  std::shared_ptr<Allocation> Find(CUmemGenericAllocationHandle handle);

  Mutex mutex_;
  CUmemGenericAllocationHandle next_handle_ MODELD_GUARDED_BY(mutex_) = 0x10000;
  std::map<CUmemGenericAllocationHandle, std::shared_ptr<Allocation>> handles_
      MODELD_GUARDED_BY(mutex_);
  // By address. A mapping keeps its memory, not its handle.
  std::map<CUdeviceptr, std::shared_ptr<Allocation>> mapped_ MODELD_GUARDED_BY(mutex_);
};

// CUDA_SUCCESS if the properties are of device memory that this process can have, with or without a
// descriptor: what Create and cuMemGetAllocationGranularity ask first.
CUresult CheckProperties(const CUmemAllocationProp& prop);

}  // namespace fake_cudart
