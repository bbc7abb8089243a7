// Device memory: memfds whose names say which GPU they are of, counted in every process.
//
// A GPU's memory in use is the sum over the distinct memfds of its name that any process has open
// or mapped. So the kernel does the accounting: memory lives until the last mapping, handle and
// descriptor of it is gone, however its holders end. Not seen are descriptors in flight in a
// socket, and the processes that this one may not look into.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/devices.h"
#include "wire/unique_fd.h"

namespace fake_cudart {

// What cudaMalloc and cuMemCreate hand out is charged in multiples of this.
constexpr uint64_t kGranularityBytes = 2 << 20;

constexpr uint64_t RoundUpToGranularity(uint64_t bytes) {
  return (bytes + kGranularityBytes - 1) / kGranularityBytes * kGranularityBytes;
}

// What a memfd is for: the last part of its name, "fake-cuda:<uuid>:<kind>".
constexpr char kMallocKind[] = "malloc";
constexpr char kVmmKind[] = "vmm";
constexpr char kContextKind[] = "context";

struct DeviceMemfd {
  std::string device_name;
  std::string kind;
  ino_t inode = 0;
  uint64_t size_bytes = 0;
};

// Of every process that can be looked into.
uint64_t BytesInUse(const std::string& device_name);

// A new memfd of the device: cudaErrorMemoryAllocation when it does not fit. Never gives out more
// than the device has; two processes that ask at once for the last of it may both be refused.
// Thread-safe.
cudaError_t CreateDeviceMemfd(const Device& device, const char* kind, uint64_t bytes,
                              modeld::wire::UniqueFd& memfd);

// What an open descriptor is; nothing when it is no device memory.
std::optional<DeviceMemfd> DescribeDeviceMemfd(int fd);

}  // namespace fake_cudart
