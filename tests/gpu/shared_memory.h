// A range of device memory that one process makes and others map, by CUDA VMM or by CUDA IPC: what
// modeld's agents and libmodeld-cuda do, in the fewest calls, so that an answer is the driver's
// alone.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "wire/unique_fd.h"

namespace modeld::gpu_test {

enum class Kind { kVmm, kIpc };

// What goes to another process.
struct Handle {
  std::vector<wire::UniqueFd> fds;  // kVmm: of its chunks of kChunkBytes
  std::string ipc;                  // kIpc
};

constexpr uint64_t kChunkBytes = uint64_t{8} << 30;

// Errors are texts; empty: it worked. Whatever is mapped stays so until the process ends.
std::string Allocate(Kind kind, int ordinal, uint64_t size_bytes, void** address, Handle* handle);
// `took` is the time of the calls that map; reading is not in it.
std::string Import(Kind kind, int ordinal, uint64_t size_bytes, const Handle& handle,
                   void** address, std::chrono::nanoseconds* took);

}  // namespace modeld::gpu_test
