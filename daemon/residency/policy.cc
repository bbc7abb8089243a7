#include "residency/policy.h"

#include <algorithm>
#include <tuple>

namespace modeld::residency {
namespace {

bool IsHeld(const Candidate& candidate) { return candidate.lease_count > 0 || candidate.pinned; }

// Those that may go now come first.
bool GoesBefore(const Candidate& a, const Candidate& b, base::TimePoint now) {
  const base::TimePoint a_from = std::max(a.protected_until, now);
  const base::TimePoint b_from = std::max(b.protected_until, now);
  return std::tie(a_from, a.idle_since, a.id) < std::tie(b_from, b.idle_since, b.id);
}

}  // namespace

std::vector<Candidate> EvictionOrder(std::vector<Candidate> candidates, base::TimePoint now) {
  std::erase_if(candidates, IsHeld);
  std::sort(candidates.begin(), candidates.end(),
            [now](const Candidate& a, const Candidate& b) { return GoesBefore(a, b, now); });
  return candidates;
}

}  // namespace modeld::residency
