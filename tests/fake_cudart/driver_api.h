// The driver's functions that cudaGetDriverEntryPoint hands out, under names of ours: the library
// exports no symbol of libcuda.

#pragma once

#include "fake_cudart/cuda_api.h"

namespace fake_cudart {

CUresult CuInit(unsigned int flags);
CUresult CuDriverGetVersion(int* version);
CUresult CuGetErrorName(CUresult error, const char** name);
CUresult CuGetErrorString(CUresult error, const char** message);
CUresult CuDeviceGet(CUdevice* device, int ordinal);
CUresult CuDeviceGetCount(int* count);
CUresult CuDeviceGetUuid(CUuuid* uuid, CUdevice device);
CUresult CuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device);
CUresult CuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active);
CUresult CuCtxGetCurrent(CUcontext* context);
CUresult CuCtxGetDevice(CUdevice* device);
CUresult CuCtxGetDeviceOf(CUdevice* device, CUcontext context);  // since CUDA 13

CUresult CuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags option);
CUresult CuMemCreate(CUmemGenericAllocationHandle* handle, size_t size_bytes,
                     const CUmemAllocationProp* prop, unsigned long long flags);
CUresult CuMemRelease(CUmemGenericAllocationHandle handle);
CUresult CuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address);
CUresult CuMemExportToShareableHandle(void* shareable, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags);
CUresult CuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* shareable,
                                        CUmemAllocationHandleType type);
CUresult CuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* prop,
                                                CUmemGenericAllocationHandle handle);
CUresult CuMemAddressReserve(CUdeviceptr* pointer, size_t size_bytes, size_t alignment_bytes,
                             CUdeviceptr hint, unsigned long long flags);
CUresult CuMemAddressFree(CUdeviceptr pointer, size_t size_bytes);
CUresult CuMemMap(CUdeviceptr pointer, size_t size_bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags);
CUresult CuMemUnmap(CUdeviceptr pointer, size_t size_bytes);
CUresult CuMemSetAccess(CUdeviceptr pointer, size_t size_bytes, const CUmemAccessDesc* accesses,
                        size_t count);
CUresult CuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                        CUdeviceptr pointer);

}  // namespace fake_cudart
