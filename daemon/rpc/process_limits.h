// How many descriptors this process has, and may have.

#pragma once

#include <cstdint>

namespace modeld::rpc {

// 0 where /proc is not mounted.
uint32_t CountOpenFds();
// The soft limit (RLIMIT_NOFILE).
uint64_t FdLimit();

}  // namespace modeld::rpc
