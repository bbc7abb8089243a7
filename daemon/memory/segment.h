// What the loading pipeline knows of memory: something that is allocated, filled in windows and
// then exported.
//
// Host memory is one kind: its windows are places in the segment. Device memory is the other: its
// windows are staging buffers, and Close starts the copy. tests/conformance holds every kind to
// this contract.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/segment.h"
#include "wire/unique_fd.h"

namespace modeld::memory {

// Longest window, in bytes.
inline constexpr uint64_t kMaxWindowBytes = 8 << 20;
// A window's address equals its offset modulo this (that of a staging buffer: whatever is asked
// for), so that a direct read of a file whose offset agrees needs no copy.
inline constexpr uint64_t kWindowAlignmentBytes = 4096;

// An agent's own share of a segment that is not in its descriptors alone: device memory. Destroying
// it gives the share back; holders of descriptors keep theirs. Thread-safe.
class SegmentShare {
 public:
  virtual ~SegmentShare() = default;
  // Copies bytes of the segment to the host. INVALID_ARGUMENT beyond its end; kDeviceLost.
  virtual absl::Status Read(uint64_t offset, std::span<std::byte> out) const = 0;
};

// A segment that will not change any more.
struct ExportedSegment {
  wire::SegmentInfo info;
  std::vector<wire::UniqueFd> fds;      // as `info` says; those of memfds are sealed
  std::unique_ptr<SegmentShare> share;  // null: the descriptors are all there is (host)
};

// Reads any exported segment: through a mapping or through the agent's share. Externally
// synchronised; borrows the segment.
class SegmentReader {
 public:
  // RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<SegmentReader>> Open(const ExportedSegment& segment);
  virtual ~SegmentReader() = default;
  // The bytes, until the next call. INVALID_ARGUMENT beyond the end; kDeviceLost.
  virtual absl::StatusOr<std::span<const std::byte>> Read(uint64_t offset, uint64_t size_bytes) = 0;
};

// Where the bytes [offset, offset + size_bytes) of a segment are to be put.
struct Window {
  std::byte* data = nullptr;
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
  void* buffer = nullptr;  // the segment's own: which staging buffer it lies in
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
  // Are windows buffers, at any address that is asked for, rather than places?
  virtual bool staged() const = 0;

  // Memory to write to, faulted in. A staged window's address equals `like` modulo
  // kWindowAlignmentBytes, that of any other one its offset. May wait until a buffer is free: a
  // thread that waits must hold none. INVALID_ARGUMENT unless 0 < size_bytes <= kMaxWindowBytes,
  // within the segment. kBudgetExceeded: the memory that was promised is not there. kDeviceLost.
  virtual absl::StatusOr<Window> Open(uint64_t offset, uint64_t size_bytes, uint64_t like) = 0;
  absl::StatusOr<Window> Open(uint64_t offset, uint64_t size_bytes) {
    return Open(offset, size_bytes, offset);
  }
  // The bytes of the window are all written; it must not be touched any more.
  virtual absl::Status Close(const Window& window) = 0;
  // The bytes of the window are not wanted: a read failed.
  virtual void Abandon(const Window& window) = 0;

  // Every byte is in its place and nothing of this process can write to it any more.
  virtual absl::StatusOr<ExportedSegment> Export() = 0;
};

// Thread-safe.
class SegmentAllocator {
 public:
  virtual ~SegmentAllocator() = default;

  // `name` is for people who look at /proc. `size_bytes` is a positive multiple of
  // wire::kSegmentUnitBytes. kBudgetExceeded: no memory. kLimitReached: no descriptors.
  // kDeviceLost. INVALID_ARGUMENT: not such a multiple.
  virtual absl::StatusOr<std::unique_ptr<SegmentFill>> Allocate(const std::string& name,
                                                                uint64_t size_bytes) = 0;

  // Takes over a segment that another process allocated and exported. INVALID_ARGUMENT: it is not
  // of this kind of memory, or not what `info` says. kDeviceLost: it cannot be taken over.
  virtual absl::StatusOr<ExportedSegment> Adopt(const wire::SegmentInfo& info,
                                                std::vector<wire::UniqueFd> fds) = 0;

  // What the device says is free now, in bytes; nullopt where nobody can say. Only for finding out
  // whether memory came back: budgets are modeld's.
  virtual std::optional<uint64_t> FreeBytes() const = 0;
};

}  // namespace modeld::memory
