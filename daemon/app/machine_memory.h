// How much memory this process may use at all.

#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace modeld::app {

struct MachineMemory {
  uint64_t bytes = 0;
  std::string source;  // `the machine`, or the cgroup file that sets the limit
};

// The least of MemTotal and the memory limits of this process' cgroup and those above it (cgroup
// v2, or the v1 memory controller). `root` is put before `/proc` and `/sys`: empty outside tests.
// UNAVAILABLE when /proc/meminfo cannot be read.
absl::StatusOr<MachineMemory> GetMachineMemory(const std::string& root = {});

}  // namespace modeld::app
