// What is, as metrics: from a snapshot of the manager.

#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "residency/manager.h"

namespace modeld::metrics {

// Pure. `version` and `start_time` are those of this modeld.
std::vector<prometheus::MetricFamily> StateOf(const residency::Snapshot& snapshot);
std::vector<prometheus::MetricFamily> Identity(const std::string& version,
                                               base::WallTime start_time);

// Asks for a snapshot whenever somebody collects. A manager that does not answer within
// `patience` has no state to show, and the rest is still shown. Thread-safe.
class State : public prometheus::Collectable {
 public:
  using Ask = std::function<void(residency::Reply<residency::Snapshot>)>;

  State(Ask ask, base::Duration patience, std::vector<prometheus::MetricFamily> identity)
      : ask_(std::move(ask)), patience_(patience), identity_(std::move(identity)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Ask ask_;
  const base::Duration patience_;
  const std::vector<prometheus::MetricFamily> identity_;
};

}  // namespace modeld::metrics
