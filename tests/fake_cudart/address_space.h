// The addresses that CUDA knows in this process: device memory, reservations for it, pinned host
// memory; who may read and write them; and the only place that copies.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/mutex.h"

namespace fake_cudart {

enum class RangeKind { kMalloc, kIpc, kVmm, kHostAllocated, kHostRegistered };

// Devices by ordinal, a bit each.
using DeviceMask = uint64_t;
constexpr DeviceMask kAllDevices = ~DeviceMask{0};
constexpr DeviceMask MaskOf(int device) { return DeviceMask{1} << device; }

struct Range {
  RangeKind kind = RangeKind::kMalloc;
  uintptr_t base = 0;
  size_t size_bytes = 0;    // what was asked for
  size_t mapped_bytes = 0;  // the whole memfd
  int device = 0;           // of the memory; for host memory, of the context that pinned it
  DeviceMask readers = 0;
  DeviceMask writers = 0;

  bool on_device() const {
    return kind != RangeKind::kHostAllocated && kind != RangeKind::kHostRegistered;
  }
  uintptr_t end() const { return base + size_bytes; }
};

// Where the bytes of a copy are.
enum class Place {
  kPageable,  // unknown to CUDA
  kPinned,
  kDevice,
  kInvalid  // partly one, partly the other; or reserved and not mapped
};

struct Operand {
  void* pointer = nullptr;
  Place place = Place::kPageable;
};

// Thread-safe. No mapping changes while a copy of a chunk runs.
class AddressSpace {
 public:
  static AddressSpace& Get();

  // Maps device memory, whole, at an address of the kernel's choice, and enters it.
  cudaError_t MapDevice(int memfd, Range range, uintptr_t& base);
  // Enters host memory. False when part of it is entered already.
  bool Enter(const Range& range);
  // Takes it out and unmaps it if it is CUDA's. False when nothing of that kind begins at `base`.
  bool Remove(uintptr_t base, RangeKind kind);
  // All of that kind and device.
  void RemoveAll(RangeKind kind, int device);

  // Address space without memory, aligned to `alignment_bytes`. `hint` may be 0.
  cudaError_t Reserve(size_t size_bytes, size_t alignment_bytes, uintptr_t hint, uintptr_t& base);
  // REQUIRES nothing mapped: else, or for what is no reservation, cudaErrorInvalidValue.
  cudaError_t Unreserve(uintptr_t base, size_t size_bytes);
  // Maps device memory into a reservation, without access for anybody.
  cudaError_t MapReserved(int memfd, uintptr_t base, size_t size_bytes, int device);
  // These two take a range that consists of whole mappings made by MapReserved.
  cudaError_t UnmapReserved(uintptr_t base, size_t size_bytes, std::vector<uintptr_t>& unmapped);
  cudaError_t SetAccess(uintptr_t base, size_t size_bytes, int device, bool read, bool write);
  // Takes a device's access from all that MapReserved made.
  void RevokeAccess(int device);

  std::optional<Range> Find(const void* pointer);
  Place Classify(const void* pointer, size_t size_bytes);

  // As `device` would do it. cudaErrorIllegalAddress, and not a byte of the chunk touched, when it
  // has no right to read the source or to write the target.
  cudaError_t Copy(const Operand& target, const Operand& source, size_t size_bytes, int device);
  cudaError_t Fill(const Operand& target, int value, size_t size_bytes, int device);

 private:
  enum class Access { kRead, kWrite };
  using Ranges = std::map<uintptr_t, Range>;

  // The range that holds the address.
  const Range* FindLocked(uintptr_t address) const FAKE_CUDART_REQUIRES_SHARED(mutex_);
  bool OverlapsLocked(uintptr_t base, size_t size_bytes) const FAKE_CUDART_REQUIRES_SHARED(mutex_);
  bool MayLocked(Access access, const Operand& operand, size_t size_bytes, int device) const
      FAKE_CUDART_REQUIRES_SHARED(mutex_);
  // The mappings that make up exactly this range; empty when it is none.
  std::vector<Range*> MappedLocked(uintptr_t base, size_t size_bytes) MODELD_REQUIRES(mutex_);

  SharedMutex mutex_;
  Ranges ranges_ MODELD_GUARDED_BY(mutex_);
  std::map<uintptr_t, size_t> reservations_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace fake_cudart
