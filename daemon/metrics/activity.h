// What happened, counted: from the manager's events, and from what it and the RPC servers are
// asked.

#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "residency/event_log.h"
#include "residency/types.h"

namespace modeld::metrics {

// Thread-safe, but for OnEvent, which one event log calls, one event at a time.
class Activity : public prometheus::Collectable {
 public:
  // `clock` outlives it.
  explicit Activity(const base::Clock& clock);
  ~Activity() override;

  // For EventLog::Subscribe.
  void OnEvent(const residency::Event& event);
  // For ManagerDeps::on_acquired.
  void OnAcquired(residency::AcquireResult result, base::Duration took);
  // `/modeld.v1.ResidencyService/GetServerInfo`, `OK`
  void OnCall(std::string_view method, std::string_view code, base::Duration took);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  struct Families;

  base::TimePoint Began(std::map<std::string, base::TimePoint>& times, const std::string& id);

  const base::Clock& clock_;
  prometheus::Registry registry_;
  const std::unique_ptr<Families> families_;

  // OnEvent's. By residency: when its load began, when it was there, and why it goes.
  std::map<std::string, base::TimePoint> loading_;
  std::map<std::string, base::TimePoint> ready_;
  std::map<std::string, std::string> leaving_;
};

}  // namespace modeld::metrics
