#include "residency/policy.h"

#include <tuple>

namespace modeld::residency {

std::optional<std::string> ChooseVictim(const std::vector<Candidate>& candidates) {
  const Candidate* victim = nullptr;
  for (const Candidate& candidate : candidates) {
    if (candidate.lease_count > 0 || candidate.pinned) continue;
    if (victim == nullptr ||
        std::tie(candidate.idle_since, candidate.id) < std::tie(victim->idle_since, victim->id)) {
      victim = &candidate;
    }
  }
  if (victim == nullptr) return std::nullopt;
  return victim->id;
}

}  // namespace modeld::residency
