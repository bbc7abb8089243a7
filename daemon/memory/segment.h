// What the loading pipeline knows of memory: something that is allocated, filled in windows and
// then exported.
//
// Host memory is one kind; device memory fits beside it, with windows that are staging buffers and
// a Close that starts the copy. tests/conformance holds every kind to this contract.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "wire/unique_fd.h"

namespace modeld::memory {

// Longest window, in bytes.
inline constexpr uint64_t kMaxWindowBytes = 8 << 20;
// A window's address equals its offset modulo this, so that a direct read of a file whose offset
// agrees needs no copy.
inline constexpr uint64_t kWindowAlignmentBytes = 4096;

// A segment that will not change any more.
struct ExportedSegment {
  wire::UniqueFd fd;  // sealed
  uint64_t size_bytes = 0;
  uint32_t page_size_bytes = 0;  // of most of it
};

// Where the bytes [offset, offset + size_bytes) of a segment are to be put.
struct Window {
  std::byte* data = nullptr;
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
};

// A segment that is being filled. Bytes that nobody wrote are zero. Destroying it gives the memory
// back.
//
// Open and Close are thread-safe for windows that do not overlap; a thread holds one window at a
// time. Export is called once, last, with no window open.
class SegmentFill {
 public:
  virtual ~SegmentFill() = default;

  virtual uint64_t size_bytes() const = 0;

  // Memory to write to, faulted in. REQUIRES: 0 < size_bytes <= kMaxWindowBytes, within the
  // segment. kBudgetExceeded: the memory that was promised is not there.
  virtual absl::StatusOr<Window> Open(uint64_t offset, uint64_t size_bytes) = 0;
  // The bytes of the window are all written; it must not be touched any more.
  virtual absl::Status Close(const Window& window) = 0;

  // Every page is there and nothing can write to it any more.
  virtual absl::StatusOr<ExportedSegment> Export() = 0;
};

// Thread-safe.
class SegmentAllocator {
 public:
  virtual ~SegmentAllocator() = default;

  // `name` is for people who look at /proc. `size_bytes` is a multiple of
  // plan::kSegmentGranularityBytes, or zero. kBudgetExceeded: no memory, no descriptors.
  // INVALID_ARGUMENT: not such a multiple.
  virtual absl::StatusOr<std::unique_ptr<SegmentFill>> Allocate(const std::string& name,
                                                                uint64_t size_bytes) = 0;
};

}  // namespace modeld::memory
