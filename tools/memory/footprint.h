// What a set of processes really takes: memory of their own, and shared weights counted once.
//
// PSS divides a shared page among its users, but counts only those that have it mapped now, and
// hugetlb pages not at all. So shared memory is taken out of PSS and counted from the memfds
// themselves:
//
//   total = sum over processes (PSS - Pss_Shmem) + sum over distinct memfds (blocks in use)

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace modeld::tools {

struct ProcessMemory {
  pid_t pid = 0;
  std::string program;  // as /proc/PID/comm has it
  std::uint64_t pss_bytes = 0;
  std::uint64_t pss_shmem_bytes = 0;

  // What would go if this process ended and the memfds stayed.
  std::uint64_t own_bytes() const { return pss_bytes - pss_shmem_bytes; }
};

struct Memfd {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::string name;
  std::uint64_t bytes = 0;  // allocated, not the length
  // No descriptor of it could be looked at, only mappings: `bytes` is the length of the longest, an
  // upper bound.
  bool estimated = false;
};

struct Footprint {
  std::vector<ProcessMemory> processes;  // in the order asked for
  std::vector<Memfd> memfds;             // that any of them has open or mapped, largest first

  std::uint64_t own_bytes() const;
  std::uint64_t memfd_bytes() const;
  std::uint64_t total_bytes() const { return own_bytes() + memfd_bytes(); }
};

// NOT_FOUND when there is no such process, PERMISSION_DENIED when it is somebody else's. `proc` is
// where procfs is.
absl::StatusOr<Footprint> MeasureFootprint(std::span<const pid_t> pids,
                                           const std::string& proc = "/proc");

}  // namespace modeld::tools
