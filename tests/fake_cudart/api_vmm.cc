#include "fake_cudart/accounting.h"
#include "fake_cudart/address_space.h"
#include "fake_cudart/api_calls.h"
#include "fake_cudart/contexts.h"
#include "fake_cudart/driver_api.h"
#include "fake_cudart/vmm.h"

namespace fake_cudart {
namespace {

// A device that is gone, or whose context in this process is broken, does nothing more. Memory
// needs no context: there is no error where there is none.
CUresult CheckUsable(int device) {
  const cudaError_t error = CheckDevice(device);
  return static_cast<CUresult>(error == cudaSuccess ? Contexts::Get().ErrorOf(device) : error);
}

CUresult CheckUsable(CUdeviceptr pointer) {
  const auto range = AddressSpace::Get().Find(reinterpret_cast<const void*>(pointer));
  return range ? CheckUsable(range->device) : CUDA_SUCCESS;
}

CUresult CheckUsableHandle(CUmemGenericAllocationHandle handle) {
  CUmemAllocationProp prop;
  const CUresult error = Vmm::Get().Properties(prop, handle);
  return error == CUDA_SUCCESS ? CheckUsable(prop.location.id) : error;
}

}  // namespace

CUresult CuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags option) {
  return DriverCall("cuMemGetAllocationGranularity", [&] {
    if (granularity == nullptr || prop == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const CUresult error = CheckProperties(*prop);
    if (error == CUDA_SUCCESS) *granularity = kGranularityBytes;
    return error;
  });
}

CUresult CuMemCreate(CUmemGenericAllocationHandle* handle, size_t size_bytes,
                     const CUmemAllocationProp* prop, unsigned long long flags) {
  return DriverCall("cuMemCreate", [&] {
    if (handle == nullptr || prop == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    CUresult error = CheckProperties(*prop);
    if (error == CUDA_SUCCESS) error = CheckUsable(prop->location.id);
    return error == CUDA_SUCCESS ? Vmm::Get().Create(*handle, size_bytes, *prop) : error;
  });
}

CUresult CuMemRelease(CUmemGenericAllocationHandle handle) {
  return DriverCall("cuMemRelease", [&] { return Vmm::Get().Release(handle); });
}

CUresult CuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address) {
  return DriverCall("cuMemRetainAllocationHandle", [&] {
    return handle == nullptr ? CUDA_ERROR_INVALID_VALUE : Vmm::Get().Retain(*handle, address);
  });
}

CUresult CuMemExportToShareableHandle(void* shareable, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags) {
  return DriverCall("cuMemExportToShareableHandle", [&] {
    if (shareable == nullptr || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || flags != 0) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const CUresult error = CheckUsableHandle(handle);
    if (error != CUDA_SUCCESS) return error;
    return Vmm::Get().Export(*static_cast<int*>(shareable), handle);
  });
}

// "the value of the file descriptor itself", cast to a pointer.
CUresult CuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* shareable,
                                        CUmemAllocationHandleType type) {
  return DriverCall("cuMemImportFromShareableHandle", [&] {
    if (handle == nullptr || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    return Vmm::Get().Import(*handle, static_cast<int>(reinterpret_cast<intptr_t>(shareable)));
  });
}

CUresult CuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* prop,
                                                CUmemGenericAllocationHandle handle) {
  return DriverCall("cuMemGetAllocationPropertiesFromHandle", [&] {
    return prop == nullptr ? CUDA_ERROR_INVALID_VALUE : Vmm::Get().Properties(*prop, handle);
  });
}

CUresult CuMemAddressReserve(CUdeviceptr* pointer, size_t size_bytes, size_t alignment_bytes,
                             CUdeviceptr hint, unsigned long long flags) {
  return DriverCall("cuMemAddressReserve", [&] {
    if (pointer == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    return Vmm::Get().Reserve(*pointer, size_bytes, alignment_bytes, hint);
  });
}

CUresult CuMemAddressFree(CUdeviceptr pointer, size_t size_bytes) {
  return DriverCall("cuMemAddressFree", [&] { return Vmm::Get().Free(pointer, size_bytes); });
}

CUresult CuMemMap(CUdeviceptr pointer, size_t size_bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags) {
  return DriverCall("cuMemMap", [&] {
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    const CUresult error = CheckUsableHandle(handle);
    if (error != CUDA_SUCCESS) return error;
    return Vmm::Get().Map(pointer, size_bytes, offset, handle);
  });
}

CUresult CuMemUnmap(CUdeviceptr pointer, size_t size_bytes) {
  return DriverCall("cuMemUnmap", [&] {
    const CUresult error = CheckUsable(pointer);
    return error == CUDA_SUCCESS ? Vmm::Get().Unmap(pointer, size_bytes) : error;
  });
}

CUresult CuMemSetAccess(CUdeviceptr pointer, size_t size_bytes, const CUmemAccessDesc* accesses,
                        size_t count) {
  return DriverCall("cuMemSetAccess", [&] {
    if (accesses == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
    CUresult error = CheckUsable(pointer);
    for (size_t i = 0; i < count && error == CUDA_SUCCESS; ++i) {
      error = Vmm::Get().SetAccess(pointer, size_bytes, accesses[i]);
    }
    return error;
  });
}

CUresult CuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                        CUdeviceptr pointer) {
  return DriverCall("cuMemGetAccess", [&] {
    if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
    uint64_t found = 0;
    const CUresult error = Vmm::Get().GetAccess(found, *location, pointer);
    if (error == CUDA_SUCCESS) *flags = found;
    return error;
  });
}

}  // namespace fake_cudart
