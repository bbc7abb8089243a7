// Who goes when room is needed: pure functions of a snapshot.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace modeld::residency {

struct Candidate {
  std::string id;
  uint32_t lease_count = 0;
  bool pinned = false;
  // When its last lease ended, or when it became READY if it never had one.
  base::TimePoint idle_since;
  // Not before: it was loaded or taken over only a moment ago.
  base::TimePoint protected_until = base::TimePoint::min();
};

// All that could go some day with nobody's doing, in the order in which they would: those that
// nobody holds or has pinned, those without protection now before the others, idle for longest
// first; the smaller id on a tie, so that the answer is the same whatever the order of the
// snapshot.
std::vector<Candidate> EvictionOrder(std::vector<Candidate> candidates, base::TimePoint now);

}  // namespace modeld::residency
