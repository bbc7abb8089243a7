// Who goes when room is needed: pure functions of a snapshot.

#pragma once

#include <cstdint>
#include <optional>
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

// The one to evict now: idle for longest among those with no lease, no pin and no protection; the
// smaller id on a tie, so that the answer is the same whatever the order of the snapshot. nullopt:
// nobody can go.
std::optional<std::string> ChooseVictim(const std::vector<Candidate>& candidates,
                                        base::TimePoint now);

// All that could go some day with nobody's doing, in the order in which they would.
std::vector<Candidate> EvictionOrder(std::vector<Candidate> candidates, base::TimePoint now);

}  // namespace modeld::residency
