// Who goes when room is needed: a pure function of a snapshot.

#pragma once

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
};

// The one to evict next: idle for longest among those with no lease and no pin; the smaller id on a
// tie, so that the answer is the same whatever the order of the snapshot. nullopt: nobody can go.
std::optional<std::string> ChooseVictim(const std::vector<Candidate>& candidates);

}  // namespace modeld::residency
