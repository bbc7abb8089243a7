#include "fake_cudart/address_space.h"

#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <iterator>

namespace fake_cudart {
namespace {

void* Pointer(uintptr_t address) { return reinterpret_cast<void*>(address); }

uintptr_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// A child between fork and exec has no device memory mapped, with the real driver neither.
void KeepFromChildren(uintptr_t base, size_t size_bytes) {
  madvise(Pointer(base), size_bytes, MADV_DONTFORK);
}

void Unmap(const Range& range) {
  if (range.kind != RangeKind::kHostRegistered) munmap(Pointer(range.base), range.mapped_bytes);
}

// What the processor may do is what some device may do: a store to a read-only mapping faults.
void Protect(const Range& range) {
  const int protection = range.writers != 0   ? PROT_READ | PROT_WRITE
                         : range.readers != 0 ? PROT_READ
                                              : PROT_NONE;
  mprotect(Pointer(range.base), range.mapped_bytes, protection);
}

bool ReserveAt(uintptr_t base, size_t size_bytes, int flags) {
  return mmap(Pointer(base), size_bytes, PROT_NONE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0) == Pointer(base);
}

}  // namespace

AddressSpace& AddressSpace::Get() {
  static AddressSpace& space = *new AddressSpace;
  return space;
}

const Range* AddressSpace::FindLocked(uintptr_t address) const {
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return nullptr;
  const Range& range = std::prev(after)->second;
  return address < range.end() ? &range : nullptr;
}

bool AddressSpace::OverlapsLocked(uintptr_t base, size_t size_bytes) const {
  const auto at_or_after = ranges_.lower_bound(base);
  if (at_or_after != ranges_.end() && at_or_after->first < base + size_bytes) return true;
  return FindLocked(base) != nullptr;
}

cudaError_t AddressSpace::MapDevice(int memfd, Range range, uintptr_t& base) {
  ExclusiveLock lock(mutex_);
  void* memory = mmap(nullptr, range.mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  if (memory == MAP_FAILED) return cudaErrorMapBufferObjectFailed;
  base = Address(memory);
  range.base = base;
  KeepFromChildren(base, range.mapped_bytes);
  ranges_[base] = range;
  return cudaSuccess;
}

bool AddressSpace::Enter(const Range& range) {
  ExclusiveLock lock(mutex_);
  if (OverlapsLocked(range.base, range.size_bytes)) return false;
  ranges_[range.base] = range;
  return true;
}

bool AddressSpace::Remove(uintptr_t base, RangeKind kind) {
  ExclusiveLock lock(mutex_);
  const auto found = ranges_.find(base);
  if (found == ranges_.end() || found->second.kind != kind) return false;
  Unmap(found->second);
  ranges_.erase(found);
  return true;
}

void AddressSpace::RemoveAll(RangeKind kind, int device) {
  ExclusiveLock lock(mutex_);
  for (auto it = ranges_.begin(); it != ranges_.end();) {
    if (it->second.kind == kind && it->second.device == device) {
      Unmap(it->second);
      it = ranges_.erase(it);
    } else {
      ++it;
    }
  }
}

cudaError_t AddressSpace::Reserve(size_t size_bytes, size_t alignment_bytes, uintptr_t hint,
                                  uintptr_t& base) {
  ExclusiveLock lock(mutex_);
  if (hint != 0 && hint % alignment_bytes == 0 &&
      ReserveAt(hint, size_bytes, MAP_FIXED_NOREPLACE)) {
    base = hint;
  } else {
    const size_t total = size_bytes + alignment_bytes;
    void* memory =
        mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return cudaErrorMemoryAllocation;
    const uintptr_t start = Address(memory);
    base = (start + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
    if (base > start) munmap(memory, base - start);
    munmap(Pointer(base + size_bytes), start + total - base - size_bytes);
  }
  reservations_[base] = size_bytes;
  return cudaSuccess;
}

cudaError_t AddressSpace::Unreserve(uintptr_t base, size_t size_bytes) {
  ExclusiveLock lock(mutex_);
  const auto found = reservations_.find(base);
  if (found == reservations_.end() || found->second != size_bytes ||
      OverlapsLocked(base, size_bytes)) {
    return cudaErrorInvalidValue;
  }
  munmap(Pointer(base), size_bytes);
  reservations_.erase(found);
  return cudaSuccess;
}

cudaError_t AddressSpace::MapReserved(int memfd, uintptr_t base, size_t size_bytes, int device) {
  ExclusiveLock lock(mutex_);
  auto after = reservations_.upper_bound(base);
  if (after == reservations_.begin()) return cudaErrorInvalidValue;
  const auto& [reserved, reserved_bytes] = *std::prev(after);
  if (base + size_bytes > reserved + reserved_bytes || OverlapsLocked(base, size_bytes)) {
    return cudaErrorInvalidValue;
  }
  if (mmap(Pointer(base), size_bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, memfd, 0) == MAP_FAILED) {
    return cudaErrorMapBufferObjectFailed;
  }
  KeepFromChildren(base, size_bytes);
  Range range;
  range.kind = RangeKind::kVmm;
  range.base = base;
  range.size_bytes = size_bytes;
  range.mapped_bytes = size_bytes;
  range.device = device;
  ranges_[base] = range;
  return cudaSuccess;
}

std::vector<Range*> AddressSpace::MappedLocked(uintptr_t base, size_t size_bytes) {
  std::vector<Range*> mapped;
  uintptr_t at = base;
  while (at < base + size_bytes) {
    const auto found = ranges_.find(at);
    if (found == ranges_.end() || found->second.kind != RangeKind::kVmm ||
        found->second.end() > base + size_bytes) {
      return {};
    }
    mapped.push_back(&found->second);
    at = found->second.end();
  }
  return mapped;
}

cudaError_t AddressSpace::UnmapReserved(uintptr_t base, size_t size_bytes,
                                        std::vector<uintptr_t>& unmapped) {
  ExclusiveLock lock(mutex_);
  const std::vector<Range*> mapped = MappedLocked(base, size_bytes);
  if (mapped.empty()) return cudaErrorInvalidValue;
  for (const Range* range : mapped) unmapped.push_back(range->base);
  if (!ReserveAt(base, size_bytes, MAP_FIXED)) return cudaErrorUnmapBufferObjectFailed;
  for (const uintptr_t address : unmapped) ranges_.erase(address);
  return cudaSuccess;
}

cudaError_t AddressSpace::SetAccess(uintptr_t base, size_t size_bytes, int device, bool read,
                                    bool write) {
  ExclusiveLock lock(mutex_);
  const std::vector<Range*> mapped = MappedLocked(base, size_bytes);
  if (mapped.empty()) return cudaErrorInvalidValue;
  for (Range* range : mapped) {
    range->readers &= ~MaskOf(device);
    range->writers &= ~MaskOf(device);
    if (read) range->readers |= MaskOf(device);
    if (write) range->writers |= MaskOf(device);
    Protect(*range);
  }
  return cudaSuccess;
}

void AddressSpace::RevokeAccess(int device) {
  ExclusiveLock lock(mutex_);
  for (auto& [base, range] : ranges_) {
    if (range.kind != RangeKind::kVmm) continue;
    range.readers &= ~MaskOf(device);
    range.writers &= ~MaskOf(device);
    Protect(range);
  }
}

std::optional<Range> AddressSpace::Find(const void* pointer) {
  SharedLock lock(mutex_);
  const Range* range = FindLocked(Address(pointer));
  return range == nullptr ? std::nullopt : std::optional<Range>(*range);
}

Place AddressSpace::Classify(const void* pointer, size_t size_bytes) {
  SharedLock lock(mutex_);
  const uintptr_t base = Address(pointer);
  const Range* range = FindLocked(base);
  if (range == nullptr) {
    auto after = reservations_.upper_bound(base);
    const bool reserved =
        after != reservations_.begin() && base < std::prev(after)->first + std::prev(after)->second;
    return reserved || OverlapsLocked(base, size_bytes) ? Place::kInvalid : Place::kPageable;
  }
  const bool on_device = range->on_device();
  while (base + size_bytes > range->end()) {
    const Range* next = FindLocked(range->end());
    // Only what lies in one reservation is one piece of memory, though mapped in several.
    if (next == nullptr || range->kind != RangeKind::kVmm || next->kind != RangeKind::kVmm) {
      return Place::kInvalid;
    }
    range = next;
  }
  return on_device ? Place::kDevice : Place::kPinned;
}

bool AddressSpace::MayLocked(Access access, const Operand& operand, size_t size_bytes,
                             int device) const {
  // The host's own memory, which the caller waits for.
  if (operand.place == Place::kPageable) return true;
  const uintptr_t base = Address(operand.pointer);
  for (uintptr_t at = base; at < base + size_bytes;) {
    const Range* range = FindLocked(at);
    if (range == nullptr) return false;
    const DeviceMask mask = access == Access::kRead ? range->readers : range->writers;
    if ((mask & MaskOf(device)) == 0) return false;
    at = range->end();
  }
  return true;
}

cudaError_t AddressSpace::Copy(const Operand& target, const Operand& source, size_t size_bytes,
                               int device) {
  SharedLock lock(mutex_);
  if (!MayLocked(Access::kRead, source, size_bytes, device) ||
      !MayLocked(Access::kWrite, target, size_bytes, device)) {
    return cudaErrorIllegalAddress;
  }
  memmove(target.pointer, source.pointer, size_bytes);
  return cudaSuccess;
}

cudaError_t AddressSpace::Fill(const Operand& target, int value, size_t size_bytes, int device) {
  SharedLock lock(mutex_);
  if (!MayLocked(Access::kWrite, target, size_bytes, device)) return cudaErrorIllegalAddress;
  memset(target.pointer, value, size_bytes);
  return cudaSuccess;
}

}  // namespace fake_cudart
