// How many descriptors this process may have.

#pragma once

#include <sys/resource.h>

#include <cstdint>

namespace modeld::bench {

// Raises the limit, also of what this process starts, to the hard one, as modeld does for itself.
// What is then in force.
inline uint64_t RaiseFdLimit() {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

}  // namespace modeld::bench
