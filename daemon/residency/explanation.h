// Why a residency is here, or not any more: in words.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "residency/types.h"

namespace modeld::residency {

// Who would be evicted.
struct EvictionCandidate {
  std::string residency_id;
  std::string reference;
  base::WallTime idle_since;
  uint64_t freed_bytes = 0;                  // if it goes alone
  std::optional<base::WallTime> not_before;  // nullopt: at once
};

// What an explanation is made from.
struct ResidencyFacts {
  std::optional<ResidencyInfo> residency;  // as it is, or was at its end
  std::vector<LeaseInfo> leases;
  std::vector<Event> events;  // its history, oldest first
  // Who would be evicted on its device, first one first; and what is free there now.
  std::vector<EvictionCandidate> eviction_order;
  uint64_t free_bytes = 0;
  int readers = 0;  // others that read it or are compared with it
  base::WallTime now;
};

struct Explanation {
  std::optional<ResidencyInfo> residency;
  std::vector<std::string> sentences;
  std::vector<Event> events;
  std::vector<EvictionCandidate> eviction_order;
};

// A pure function. REQUIRES: there is a residency or an event
Explanation ExplainFrom(ResidencyFacts facts);

}  // namespace modeld::residency
