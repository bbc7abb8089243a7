#include "fake_cudart/vmm.h"

#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "fake_cudart/accounting.h"
#include "fake_cudart/address_space.h"
#include "fake_cudart/devices.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/streams.h"

namespace fake_cudart {
namespace {

// The runtime's errors and the driver's have the same numbers.
CUresult ToDriver(cudaError_t error) { return static_cast<CUresult>(error); }

bool Aligned(uint64_t value) { return value % kGranularityBytes == 0; }

bool PowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

CUresult CheckLocation(const CUmemLocation& location) {
  if (location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
  return ToDriver(CheckDevice(location.id));
}

}  // namespace

CUresult CheckProperties(const CUmemAllocationProp& prop) {
  if (prop.type != CU_MEM_ALLOCATION_TYPE_PINNED) return CUDA_ERROR_INVALID_VALUE;
  if (prop.requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE &&
      prop.requestedHandleTypes != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CheckLocation(prop.location);
}

Vmm& Vmm::Get() {
  static Vmm& vmm = *new Vmm;
  return vmm;
}

CUmemGenericAllocationHandle Vmm::Enter(std::shared_ptr<Allocation> allocation) {
  MutexLock lock(mutex_);
  next_handle_ += 0x10;
  allocation->handle = next_handle_;
  allocation->references = 1;
  handles_[next_handle_] = std::move(allocation);
  return next_handle_;
}

std::shared_ptr<Vmm::Allocation> Vmm::Find(CUmemGenericAllocationHandle handle) {
  MutexLock lock(mutex_);
  const auto found = handles_.find(handle);
  return found == handles_.end() ? nullptr : found->second;
}

CUresult Vmm::Create(CUmemGenericAllocationHandle& handle, size_t size_bytes,
                     const CUmemAllocationProp& prop) {
  const CUresult refused = CheckProperties(prop);
  if (refused != CUDA_SUCCESS) return refused;
  if (size_bytes == 0 || !Aligned(size_bytes)) return CUDA_ERROR_INVALID_VALUE;
  const Device& device = GetDevice(prop.location.id);
  auto allocation = std::make_shared<Allocation>();
  const cudaError_t error = CreateDeviceMemfd(device, kVmmKind, size_bytes, allocation->memfd);
  if (error != cudaSuccess) return ToDriver(error);
  allocation->size_bytes = size_bytes;
  allocation->device = device.ordinal;
  allocation->exportable = prop.requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE;
  handle = Enter(std::move(allocation));
  LogEvent("create", device.name(), size_bytes);
  return CUDA_SUCCESS;
}

CUresult Vmm::Release(CUmemGenericAllocationHandle handle) {
  std::shared_ptr<Allocation> released;  // its descriptor is closed outside the lock
  MutexLock lock(mutex_);
  const auto found = handles_.find(handle);
  if (found == handles_.end()) return CUDA_ERROR_INVALID_VALUE;
  if (--found->second->references > 0) return CUDA_SUCCESS;
  released = std::move(found->second);
  handles_.erase(found);
  return CUDA_SUCCESS;
}

CUresult Vmm::Retain(CUmemGenericAllocationHandle& handle, const void* address) {
  const auto pointer = reinterpret_cast<CUdeviceptr>(address);
  MutexLock lock(mutex_);
  const auto after = mapped_.upper_bound(pointer);
  if (after == mapped_.begin()) return CUDA_ERROR_INVALID_VALUE;
  const auto& [base, allocation] = *std::prev(after);
  if (pointer >= base + allocation->size_bytes) return CUDA_ERROR_INVALID_VALUE;
  ++allocation->references;
  handles_[allocation->handle] = allocation;
  handle = allocation->handle;
  return CUDA_SUCCESS;
}

CUresult Vmm::Export(int& fd, CUmemGenericAllocationHandle handle) {
  const auto allocation = Find(handle);
  if (allocation == nullptr || !allocation->exportable) return CUDA_ERROR_INVALID_VALUE;
  const int duplicate = fcntl(allocation->memfd.get(), F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  fd = duplicate;
  LogEvent("export", GetDevice(allocation->device).name(), allocation->size_bytes);
  return CUDA_SUCCESS;
}

CUresult Vmm::Import(CUmemGenericAllocationHandle& handle, int fd) {
  const auto description = DescribeDeviceMemfd(fd);
  if (!description || description->kind != kVmmKind || !Aligned(description->size_bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto uuid = ParseUuid(description->device_name);
  const Device* device = uuid ? FindDevice(*uuid) : nullptr;
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  const cudaError_t error = CheckDevice(device->ordinal);
  if (error != cudaSuccess) return ToDriver(error);
  auto allocation = std::make_shared<Allocation>();
  allocation->memfd = modeld::wire::UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!allocation->memfd.valid()) return CUDA_ERROR_OPERATING_SYSTEM;
  allocation->size_bytes = description->size_bytes;
  allocation->device = device->ordinal;
  allocation->exportable = true;
  handle = Enter(std::move(allocation));
  LogEvent("import", device->name(), description->size_bytes);
  return CUDA_SUCCESS;
}

CUresult Vmm::Properties(CUmemAllocationProp& prop, CUmemGenericAllocationHandle handle) {
  const auto allocation = Find(handle);
  if (allocation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  prop = {};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.requestedHandleTypes =
      allocation->exportable ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR : CU_MEM_HANDLE_TYPE_NONE;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop.location.id = allocation->device;
  return CUDA_SUCCESS;
}

CUresult Vmm::Reserve(CUdeviceptr& pointer, size_t size_bytes, size_t alignment_bytes,
                      CUdeviceptr hint) {
  if (size_bytes == 0 || !Aligned(size_bytes) ||
      (alignment_bytes != 0 && !PowerOfTwo(alignment_bytes))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uintptr_t base = 0;
  const cudaError_t error = AddressSpace::Get().Reserve(
      size_bytes, std::max<size_t>(alignment_bytes, kGranularityBytes), hint, base);
  if (error == cudaSuccess) pointer = base;
  return ToDriver(error);
}

CUresult Vmm::Free(CUdeviceptr pointer, size_t size_bytes) {
  return ToDriver(AddressSpace::Get().Unreserve(pointer, size_bytes));
}

CUresult Vmm::Map(CUdeviceptr pointer, size_t size_bytes, size_t offset,
                  CUmemGenericAllocationHandle handle) {
  auto allocation = Find(handle);
  if (allocation == nullptr || offset != 0 || size_bytes != allocation->size_bytes ||
      !Aligned(pointer)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const cudaError_t error = AddressSpace::Get().MapReserved(allocation->memfd.get(), pointer,
                                                            size_bytes, allocation->device);
  if (error != cudaSuccess) return ToDriver(error);
  MutexLock lock(mutex_);
  mapped_[pointer] = std::move(allocation);
  return CUDA_SUCCESS;
}

CUresult Vmm::Unmap(CUdeviceptr pointer, size_t size_bytes) {
  Streams::Get().WaitForAll();
  std::vector<uintptr_t> unmapped;
  const cudaError_t error = AddressSpace::Get().UnmapReserved(pointer, size_bytes, unmapped);
  if (error != cudaSuccess) return ToDriver(error);
  std::vector<std::shared_ptr<Allocation>> released;  // closed outside the lock
  MutexLock lock(mutex_);
  for (const uintptr_t base : unmapped) {
    released.push_back(std::move(mapped_[base]));
    mapped_.erase(base);
  }
  return CUDA_SUCCESS;
}

CUresult Vmm::SetAccess(CUdeviceptr pointer, size_t size_bytes, const CUmemAccessDesc& access) {
  const CUresult refused = CheckLocation(access.location);
  if (refused != CUDA_SUCCESS) return refused;
  if (access.flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
      access.flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
      access.flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto range = AddressSpace::Get().Find(reinterpret_cast<const void*>(pointer));
  if (range && range->device != access.location.id && !GetConfig().peer) {
    return CUDA_ERROR_INVALID_DEVICE;
  }
  return ToDriver(AddressSpace::Get().SetAccess(
      pointer, size_bytes, access.location.id, access.flags != CU_MEM_ACCESS_FLAGS_PROT_NONE,
      access.flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
}

CUresult Vmm::GetAccess(uint64_t& flags, const CUmemLocation& location, CUdeviceptr pointer) {
  const CUresult refused = CheckLocation(location);
  if (refused != CUDA_SUCCESS) return refused;
  const auto range = AddressSpace::Get().Find(reinterpret_cast<const void*>(pointer));
  if (!range || range->kind != RangeKind::kVmm) return CUDA_ERROR_INVALID_VALUE;
  const DeviceMask mask = MaskOf(location.id);
  flags = (range->writers & mask) != 0   ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
          : (range->readers & mask) != 0 ? CU_MEM_ACCESS_FLAGS_PROT_READ
                                         : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  return CUDA_SUCCESS;
}

}  // namespace fake_cudart
