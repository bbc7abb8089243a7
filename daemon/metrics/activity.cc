#include "metrics/activity.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>

#include "metrics/names.h"

namespace modeld::metrics {
namespace {

using residency::AcquireResult;
using residency::Event;
using residency::EventType;

using Buckets = prometheus::Histogram::BucketBoundaries;

// A hit takes a fraction of a millisecond; a load, seconds or minutes.
const Buckets& AcquireBuckets() {
  static const Buckets buckets = {1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 0.25,
                                  1,    2.5,    5,    10,   30,     60,   300};
  return buckets;
}
const Buckets& LoadBuckets() {
  static const Buckets buckets = {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900};
  return buckets;
}
const Buckets& AgeBuckets() {
  static const Buckets buckets = {1, 10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600};
  return buckets;
}
const Buckets& CallBuckets() {
  static const Buckets buckets = {1e-4,   2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2,
                                  2.5e-2, 0.1,    0.5,  1,    5,      30};
  return buckets;
}

double Seconds(base::Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string_view ResultName(AcquireResult result) {
  switch (result) {
    case AcquireResult::kHit:
      return "hit";
    case AcquireResult::kJoined:
      return "joined";
    case AcquireResult::kLoaded:
      return "loaded";
    case AcquireResult::kResumed:
      return "resumed";
    case AcquireResult::kRefused:
      return "refused";
    case AcquireResult::kFailed:
      return "failed";
    case AcquireResult::kCancelled:
      return "cancelled";
  }
  return "failed";
}

prometheus::Family<prometheus::Counter>& AddCounter(prometheus::Registry& registry,
                                                    const Name& name) {
  return prometheus::BuildCounter()
      .Name(std::string(name.name))
      .Help(std::string(name.help))
      .Register(registry);
}

prometheus::Family<prometheus::Histogram>& AddHistogram(prometheus::Registry& registry,
                                                        const Name& name) {
  return prometheus::BuildHistogram()
      .Name(std::string(name.name))
      .Help(std::string(name.help))
      .Register(registry);
}

}  // namespace

struct Activity::Families {
  explicit Families(prometheus::Registry& registry)
      : acquires(AddCounter(registry, kAcquires)),
        acquire_seconds(AddHistogram(registry, kAcquireSeconds)),
        loads(AddCounter(registry, kLoads)),
        load_seconds(AddHistogram(registry, kLoadSeconds)),
        load_bytes(AddCounter(registry, kLoadBytes)),
        adopted(AddCounter(registry, kAdopted)),
        lost(AddCounter(registry, kLost)),
        evictions(AddCounter(registry, kEvictions)),
        eviction_age(AddHistogram(registry, kEvictionAge)),
        lease_ends(AddCounter(registry, kLeaseEnds)),
        rpc_seconds(AddHistogram(registry, kRpcSeconds)) {}

  prometheus::Family<prometheus::Counter>& acquires;
  prometheus::Family<prometheus::Histogram>& acquire_seconds;
  prometheus::Family<prometheus::Counter>& loads;
  prometheus::Family<prometheus::Histogram>& load_seconds;
  prometheus::Family<prometheus::Counter>& load_bytes;
  prometheus::Family<prometheus::Counter>& adopted;
  prometheus::Family<prometheus::Counter>& lost;
  prometheus::Family<prometheus::Counter>& evictions;
  prometheus::Family<prometheus::Histogram>& eviction_age;
  prometheus::Family<prometheus::Counter>& lease_ends;
  prometheus::Family<prometheus::Histogram>& rpc_seconds;
};

Activity::Activity(const base::Clock& clock)
    : clock_(clock), families_(std::make_unique<Families>(registry_)) {
  // What can be told beforehand is there from the start, at 0: rates of what never happened are
  // 0, not absent.
  for (const AcquireResult result :
       {AcquireResult::kHit, AcquireResult::kJoined, AcquireResult::kLoaded,
        AcquireResult::kResumed, AcquireResult::kRefused, AcquireResult::kFailed,
        AcquireResult::kCancelled}) {
    families_->acquires.Add({{"result", std::string(ResultName(result))}});
  }
  for (const std::string_view cause : {residency::cause::kReleased, residency::cause::kDied,
                                       residency::cause::kLost, residency::cause::kStopping}) {
    families_->lease_ends.Add({{"cause", std::string(cause)}});
  }
}

Activity::~Activity() = default;

std::vector<prometheus::MetricFamily> Activity::Collect() const { return registry_.Collect(); }

void Activity::OnAcquired(AcquireResult result, base::Duration took) {
  const prometheus::Labels labels = {{"result", std::string(ResultName(result))}};
  families_->acquires.Add(labels).Increment();
  families_->acquire_seconds.Add(labels, AcquireBuckets()).Observe(Seconds(took));
}

void Activity::OnCall(std::string_view method, std::string_view code, base::Duration took) {
  // `/modeld.v1.ResidencyService/GetServerInfo` -> `GetServerInfo`
  const size_t slash = method.rfind('/');
  if (slash != std::string_view::npos) method.remove_prefix(slash + 1);
  families_->rpc_seconds
      .Add({{"method", std::string(method)}, {"code", std::string(code)}}, CallBuckets())
      .Observe(Seconds(took));
}

// Since when, and forgets it. Now, if it is not known.
base::TimePoint Activity::Began(std::map<std::string, base::TimePoint>& times,
                                const std::string& id) {
  const auto node = times.extract(id);
  return node.empty() ? clock_.Now() : node.mapped();
}

void Activity::OnEvent(const Event& event) {
  const prometheus::Labels device = {{"device", event.device}};
  const auto ended = [&](std::string_view result) {
    return prometheus::Labels{{"device", event.device}, {"result", std::string(result)}};
  };
  switch (event.type) {
    case EventType::kLoadStarted:
      loading_[event.residency_id] = clock_.Now();
      break;
    case EventType::kResidencyReady:
      families_->loads.Add(ended("done")).Increment();
      families_->load_bytes.Add(device).Increment(static_cast<double>(event.bytes));
      families_->load_seconds.Add(device, LoadBuckets())
          .Observe(Seconds(clock_.Now() - Began(loading_, event.residency_id)));
      ready_[event.residency_id] = clock_.Now();
      break;
    case EventType::kLoadFailed:
    case EventType::kLoadCancelled:
      loading_.erase(event.residency_id);
      families_->loads.Add(ended(event.type == EventType::kLoadFailed ? "failed" : "cancelled"))
          .Increment();
      break;
    case EventType::kResidencyAdopted:
      families_->adopted.Add(device).Increment();
      ready_[event.residency_id] = clock_.Now();
      break;
    case EventType::kResidencyLost:
      families_->lost.Add(device).Increment();
      ready_.erase(event.residency_id);
      leaving_.erase(event.residency_id);
      break;
    case EventType::kResidencyDraining:
      leaving_[event.residency_id] = event.cause;
      break;
    case EventType::kResidencyEvicted: {
      const auto cause = leaving_.extract(event.residency_id);
      const prometheus::Labels labels = {{"device", event.device},
                                         {"cause", cause.empty() ? "unknown" : cause.mapped()}};
      families_->evictions.Add(labels).Increment();
      families_->eviction_age.Add(labels, AgeBuckets())
          .Observe(Seconds(clock_.Now() - Began(ready_, event.residency_id)));
      break;
    }
    case EventType::kLeaseEnded:
      families_->lease_ends.Add({{"cause", event.cause}}).Increment();
      break;
    default:
      break;
  }
}

}  // namespace modeld::metrics
