#include "metrics/state.h"

#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "metrics/names.h"
#include "wire/mutex.h"

namespace modeld::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using Labels = std::vector<ClientMetric::Label>;

MetricFamily FamilyOf(const Name& name) {
  MetricFamily family;
  family.name = std::string(name.name);
  family.help = std::string(name.help);
  family.type =
      name.kind == Kind::kCounter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  return family;
}

void Add(MetricFamily& family, Labels labels, double value) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  if (family.type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
}

// Of the residencies on one device.
struct Use {
  uint64_t shared_bytes = 0;
  uint64_t saved_bytes = 0;
  uint64_t leases = 0;
  uint64_t waiters = 0;
  std::map<residency::State, uint64_t> states = {{residency::State::kPending, 0},
                                                 {residency::State::kIdentifying, 0},
                                                 {residency::State::kLoading, 0},
                                                 {residency::State::kReady, 0},
                                                 {residency::State::kDraining, 0}};
};

// `READY` -> `ready`
std::string LowerStateName(residency::State state) {
  std::string name(residency::StateName(state));
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

}  // namespace

std::vector<MetricFamily> Identity(const std::string& version, base::WallTime start_time) {
  MetricFamily build = FamilyOf(kBuildInfo);
  Add(build, {{"version", version}}, 1);
  MetricFamily start = FamilyOf(kStartTime);
  Add(start, {}, std::chrono::duration<double>(start_time.time_since_epoch()).count());
  return {std::move(build), std::move(start)};
}

std::vector<MetricFamily> StateOf(const residency::Snapshot& snapshot) {
  std::unordered_map<std::string, Use> uses;
  for (const residency::ResidencyInfo& info : snapshot.residencies) {
    if (residency::IsEnded(info.state)) continue;
    Use& use = uses[info.device];
    ++use.states[info.state];
    use.leases += info.lease_count;
    use.waiters += info.waiter_count;
    if (info.lease_count > 1) {
      use.shared_bytes += info.size_bytes;
      use.saved_bytes += info.size_bytes * (info.lease_count - 1);
    }
  }
  MetricFamily up = FamilyOf(kDeviceUp);
  MetricFamily capacity = FamilyOf(kCapacity);
  MetricFamily reserved = FamilyOf(kReserved);
  MetricFamily resident = FamilyOf(kResident);
  MetricFamily shared = FamilyOf(kShared);
  MetricFamily saved = FamilyOf(kSaved);
  MetricFamily held = FamilyOf(kHeld);
  MetricFamily evictable = FamilyOf(kEvictable);
  MetricFamily starts = FamilyOf(kAgentStarts);
  MetricFamily residencies = FamilyOf(kResidencies);
  MetricFamily leases = FamilyOf(kLeases);
  MetricFamily waiters = FamilyOf(kWaiters);
  for (const residency::DeviceInfo& device : snapshot.devices) {
    const Labels labels = {{"device", device.id}};
    const Use& use = uses[device.id];
    const auto bytes = [](uint64_t count) { return static_cast<double>(count); };
    Add(up, labels, device.available ? 1 : 0);
    Add(capacity, labels, bytes(device.capacity_bytes));
    Add(reserved, labels, bytes(device.reserved_bytes));
    Add(resident, labels, bytes(device.resident_bytes));
    Add(shared, labels, bytes(use.shared_bytes));
    Add(saved, labels, bytes(use.saved_bytes));
    // What is on its way out is neither: it counts as held until it has gone.
    Add(held, labels, bytes(device.resident_bytes - device.evictable_bytes));
    Add(evictable, labels, bytes(device.evictable_bytes));
    Add(starts, labels, device.agent_starts);
    for (const auto& [state, count] : use.states) {
      Add(residencies, {{"device", device.id}, {"state", LowerStateName(state)}}, bytes(count));
    }
    Add(leases, labels, bytes(use.leases));
    Add(waiters, labels, bytes(use.waiters));
  }
  return {std::move(up),     std::move(capacity),    std::move(reserved), std::move(resident),
          std::move(shared), std::move(saved),       std::move(held),     std::move(evictable),
          std::move(starts), std::move(residencies), std::move(leases),   std::move(waiters)};
}

std::vector<MetricFamily> State::Collect() const {
  // Outlives this call when the answer comes later.
  struct Answer {
    wire::Mutex mutex;
    wire::CondVar arrived;
    std::optional<residency::Snapshot> snapshot MODELD_GUARDED_BY(mutex);
  };
  const auto answer = std::make_shared<Answer>();
  ask_([answer](residency::Snapshot snapshot) {
    wire::MutexLock lock(answer->mutex);
    answer->snapshot = std::move(snapshot);
    answer->arrived.NotifyAll();
  });
  std::vector<MetricFamily> families = identity_;
  std::optional<residency::Snapshot> snapshot;
  {
    const auto deadline = std::chrono::steady_clock::now() + patience_;
    wire::MutexLock lock(answer->mutex);
    while (!answer->snapshot) {
      if (!answer->arrived.WaitUntil(answer->mutex, deadline)) break;
    }
    snapshot.swap(answer->snapshot);
  }
  if (snapshot) {
    for (MetricFamily& family : StateOf(*snapshot)) families.push_back(std::move(family));
  }
  return families;
}

}  // namespace modeld::metrics
