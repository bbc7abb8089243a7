#include "fake_cudart/device_memory.h"

#include <utility>

#include "fake_cudart/accounting.h"
#include "fake_cudart/address_space.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/streams.h"

namespace fake_cudart {

DeviceMemory& DeviceMemory::Get() {
  static DeviceMemory& memory = *new DeviceMemory;
  return memory;
}

cudaError_t DeviceMemory::Allocate(int device, size_t size_bytes, void*& pointer) {
  modeld::wire::UniqueFd memfd;
  cudaError_t error = CreateDeviceMemfd(GetDevice(device), kMallocKind, size_bytes, memfd);
  if (error != cudaSuccess) return error;
  const auto description = DescribeDeviceMemfd(memfd.get());
  if (!description) return cudaErrorOperatingSystem;
  Range range;
  range.kind = RangeKind::kMalloc;
  range.size_bytes = size_bytes;
  range.mapped_bytes = description->size_bytes;
  range.device = device;
  range.readers = range.writers = GetConfig().peer ? kAllDevices : MaskOf(device);
  uintptr_t base = 0;
  error = AddressSpace::Get().MapDevice(memfd.get(), range, base);
  if (error != cudaSuccess) return error;
  {
    MutexLock lock(mutex_);
    allocations_[base] = {std::move(memfd), description->inode, size_bytes, device};
  }
  LogEvent("malloc", GetDevice(device).name(), size_bytes);
  pointer = reinterpret_cast<void*>(base);
  return cudaSuccess;
}

cudaError_t DeviceMemory::Free(void* pointer) {
  const auto base = reinterpret_cast<uintptr_t>(pointer);
  Allocation allocation;
  {
    MutexLock lock(mutex_);
    const auto found = allocations_.find(base);
    if (found == allocations_.end()) return cudaErrorInvalidValue;
    allocation = std::move(found->second);
    allocations_.erase(found);
  }
  Streams::Get().Wait(allocation.device);
  AddressSpace::Get().Remove(base, RangeKind::kMalloc);
  LogEvent("free", GetDevice(allocation.device).name(), allocation.size_bytes);
  return cudaSuccess;
}

std::optional<DeviceMemory::Export> DeviceMemory::FindAllocation(const void* pointer) {
  MutexLock lock(mutex_);
  const auto found = allocations_.find(reinterpret_cast<uintptr_t>(pointer));
  if (found == allocations_.end()) return std::nullopt;
  const Allocation& allocation = found->second;
  return Export{allocation.memfd.get(), allocation.inode, allocation.size_bytes, allocation.device};
}

void DeviceMemory::Forget(int device) {
  {
    MutexLock lock(mutex_);
    for (auto it = allocations_.begin(); it != allocations_.end();) {
      it = it->second.device == device ? allocations_.erase(it) : std::next(it);
    }
  }
  AddressSpace::Get().RemoveAll(RangeKind::kMalloc, device);
}

}  // namespace fake_cudart
