// A segment of another process, mapped here: what the two kinds have in common.

#pragma once

#include <memory>

#include "cuda/failure.h"

namespace modeld::gpu {

// The functions are called in a thread whose current device is the segment's GPU.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual void* address() const = 0;
  // Once, after all work on the GPU. `has_context` is false where the context it was mapped in is
  // gone (a reset, the end of the process): then only what does not belong to a context is undone.
  virtual void Unmap(bool has_context) = 0;
};

// Allocations mapped one after another into one range of addresses, to be read by the kernels of
// `ordinal`, and by those of `peer` unless it is negative. REQUIRES: a VMM segment.
MaybeFailure MapVmm(const ModeldDeviceSegment& segment, int ordinal, int peer,
                    std::unique_ptr<Memory>& memory);

// One allocation, writable by whoever is careless. REQUIRES: an IPC segment.
MaybeFailure MapIpc(const ModeldDeviceSegment& segment, int ordinal,
                    std::unique_ptr<Memory>& memory);

}  // namespace modeld::gpu
