#include "fake_cudart/host_memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <sstream>
#include <string>

#include "fake_cudart/address_space.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/process_info.h"
#include "fake_cudart/streams.h"

namespace fake_cudart {
namespace {

Range HostRange(RangeKind kind, void* pointer, size_t size_bytes, int device) {
  Range range;
  range.kind = kind;
  range.base = reinterpret_cast<uintptr_t>(pointer);
  range.size_bytes = range.mapped_bytes = size_bytes;
  range.device = device;
  range.readers = range.writers = kAllDevices;
  return range;
}

// Whether the process has all of it mapped, readable or also writable: what pinning asks for.
bool HostMay(uintptr_t base, size_t size_bytes, bool write) {
  std::istringstream maps(ReadProcFile("/proc/self/maps"));
  uintptr_t at = base;
  for (std::string line; at < base + size_bytes && std::getline(maps, line);) {
    char* end = nullptr;
    const uintptr_t first = strtoull(line.c_str(), &end, 16);
    const uintptr_t last = strtoull(end + 1, &end, 16);
    if (last <= at) continue;
    const char* permissions = end + 1;
    if (first > at || permissions[0] != 'r' || (write && permissions[1] != 'w')) return false;
    at = last;
  }
  return at >= base + size_bytes;
}

cudaError_t TakeOut(void* pointer, RangeKind kind, cudaError_t otherwise) {
  const auto range = AddressSpace::Get().Find(pointer);
  const auto base = reinterpret_cast<uintptr_t>(pointer);
  if (!range || range->kind != kind || range->base != base) return otherwise;
  Streams::Get().Wait(range->device);
  return AddressSpace::Get().Remove(base, kind) ? cudaSuccess : otherwise;
}

}  // namespace

cudaError_t AllocateHost(size_t size_bytes, int device, void*& pointer) {
  void* memory =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return cudaErrorMemoryAllocation;
  AddressSpace::Get().Enter(HostRange(RangeKind::kHostAllocated, memory, size_bytes, device));
  LogEvent("host_alloc", size_bytes);
  pointer = memory;
  return cudaSuccess;
}

cudaError_t FreeHost(void* pointer) {
  return TakeOut(pointer, RangeKind::kHostAllocated, cudaErrorInvalidValue);
}

cudaError_t RegisterHost(void* pointer, size_t size_bytes, unsigned int flags, int device) {
  const Range range = HostRange(RangeKind::kHostRegistered, pointer, size_bytes, device);
  const bool write = (flags & cudaHostRegisterReadOnly) == 0;
  if (!HostMay(range.base, size_bytes, write)) return cudaErrorInvalidValue;
  if (!AddressSpace::Get().Enter(range)) return cudaErrorHostMemoryAlreadyRegistered;
  LogEvent("host_register", size_bytes);
  return cudaSuccess;
}

cudaError_t UnregisterHost(void* pointer) {
  return TakeOut(pointer, RangeKind::kHostRegistered, cudaErrorHostMemoryNotRegistered);
}

void ForgetHost(int device) {
  AddressSpace::Get().RemoveAll(RangeKind::kHostAllocated, device);
  AddressSpace::Get().RemoveAll(RangeKind::kHostRegistered, device);
}

}  // namespace fake_cudart
