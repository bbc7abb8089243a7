// What a process that reads hostile bytes gives up before it reads the first one.
//
// Landlock without any rule (no file, no network, no signals to others), a seccomp list of the
// calls that reading descriptors and answering takes, and resource limits. What remains: the
// descriptors it has, and memory up to a limit.

#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace modeld::checkpoint {

// What is in force.
struct SandboxReport {
  uint32_t landlock_abi = 0;  // 0: the kernel has none, or it is switched off
  bool seccomp = false;
  uint64_t address_space_limit_bytes = 0;  // 0: none (builds with a sanitizer)

  bool operator==(const SandboxReport&) const = default;
};

struct SandboxLimits {
  uint64_t address_space_bytes = uint64_t{1} << 30;
  uint64_t cpu_seconds = 20;
  uint64_t file_bytes = uint64_t{1} << 30;  // of a file written, memfds included
  uint64_t descriptors = 512;
  int last_fd = 3;  // descriptors above it are closed
};

// Irrevocable, for the calling thread, which must be the only one. A kernel without Landlock or
// seccomp leaves them out, and the report says so; FAILED_PRECONDITION where a limit that every
// kernel has cannot be set.
absl::StatusOr<SandboxReport> EnterSandbox(const SandboxLimits& limits);

// The parts. 0 or the ABI version in force; REQUIRES no_new_privs.
uint32_t RestrictWithLandlock();
// false where the kernel has no seccomp.
bool RestrictSystemCalls();

// Builds with a sanitizer reserve terabytes of addresses and make calls of their own: the one place
// that says so.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitizerBuild = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
inline constexpr bool kSanitizerBuild = true;
#else
inline constexpr bool kSanitizerBuild = false;
#endif
#else
inline constexpr bool kSanitizerBuild = false;
#endif

}  // namespace modeld::checkpoint
