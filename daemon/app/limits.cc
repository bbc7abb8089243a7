#include "app/limits.h"

#include <sys/resource.h>

namespace modeld::app {

uint64_t RaiseFdLimit() {
  struct rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

}  // namespace modeld::app
