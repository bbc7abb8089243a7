#include "plan/load_plan.h"

#include <numeric>

namespace modeld::plan {

uint64_t LoadPlan::resident_bytes() const {
  return std::accumulate(segment_sizes.begin(), segment_sizes.end(), uint64_t{0});
}

}  // namespace modeld::plan
