// Keeps a peer from filling the log.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>

#include "base/clock.h"

namespace modeld::rpc {

// Allows one line per key and minute. Externally synchronised.
class LogThrottle {
 public:
  // `clock` outlives the throttle.
  explicit LogThrottle(const base::Clock& clock) : clock_(clock) {}

  bool Allows(uint64_t key) {
    const base::TimePoint now = clock_.Now();
    std::erase_if(last_, [now](const auto& entry) { return now - entry.second >= kInterval; });
    return last_.size() < kMaxKeys && last_.try_emplace(key, now).second;
  }

 private:
  static constexpr std::chrono::minutes kInterval{1};
  static constexpr size_t kMaxKeys = 256;

  const base::Clock& clock_;
  std::map<uint64_t, base::TimePoint> last_;
};

}  // namespace modeld::rpc
