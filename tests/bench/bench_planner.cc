// How long the manager takes to decide who makes room, in process: from the moment that it knows
// what a checkpoint needs until it tells the backend whom to release. A thousand residencies are
// READY and idle, the ledger is full, and all digests are known.

#include <time.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/manual_clock.h"
#include "bench_table.h"
#include "bench_tools.h"
#include "fakes.h"
#include "fd_limit.h"
#include "residency/manager.h"

namespace modeld::bench {
namespace {

using residency::FakeBackend;
using residency::FakeCatalog;

constexpr int kResidencies = 1000;
constexpr int kDecisions = 500;
constexpr double kMaxMillis = 1;
constexpr char kMany[] = "many";
constexpr int kManyUnits = 100;

struct Moment {
  Clock::time_point wall;
  double cpu_millis = 0;  // of this thread, which does it all

  static Moment Now() {
    timespec cpu = {};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return {Clock::now(),
            1e3 * static_cast<double>(cpu.tv_sec) + static_cast<double>(cpu.tv_nsec) / 1e6};
  }
};

// How long a decision took, in milliseconds.
struct Took {
  double wall = 0;
  double cpu = 0;
};

class TimedCatalog : public FakeCatalog {
 public:
  absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(const plan::OpenCheckpoint& checkpoint,
                                                             const std::string& device) override {
    auto plan = FakeCatalog::Plan(checkpoint, device);
    planned = Moment::Now();
    return plan;
  }

  Moment planned;
};

class TimedBackend : public FakeBackend {
 public:
  void Release(const std::string& id) override {
    last_release = Moment::Now();
    FakeBackend::Release(id);
  }

  Moment last_release;
};

// Everything inline: what a call causes has happened when it returns.
class Bench {
 public:
  Bench() : manager_({&catalog_, &executor_, &executor_, &clock_, &clock_}) {
    manager_.AddDevice("host", kResidencies * FakeCatalog::kUnit, &backend_);
    manager_.OnAgentUp("host", {.pid = 1, .export_kind = "memfd", .page_size_bytes = 4096});
    catalog_.Put(kMany, kManyUnits);
    catalog_.Cache(kMany);
    for (int i = 0; i < kResidencies; ++i) Fill(i);
  }

  bool Run() {
    std::vector<double> wall;
    std::vector<double> cpu;
    for (int i = 0; i < kDecisions; ++i) {
      const std::string name = NewName(kResidencies + i);
      const Took took = Decide(name, 1);
      wall.push_back(took.wall);
      cpu.push_back(took.cpu);
    }
    const std::string one = "who goes for one among 1,000 residencies";
    const Row row = Within(one + ": time / CPU time", Median(wall), Median(cpu), "ms", kMaxMillis);
    Print(row);
    Print(Only(one + ", p99", Percentile(wall, 0.99), "ms"));
    const Took many = Decide(kMany, kManyUnits);
    Print(AtMost("which 100 go for one among 1,000 residencies: time / CPU time", many.wall,
                 many.cpu, "ms", 0));
    return row.holds;
  }

 private:
  std::string NewName(int index) {
    const std::string name = "m" + std::to_string(index);
    catalog_.Put(name, 1);
    catalog_.Cache(name);
    return name;
  }

  residency::Ticket Acquire(const std::string& name) {
    residency::AcquireRequest request;
    request.spec.reference = name;
    observer_ = std::make_shared<residency::RecordingObserver>();
    return manager_.Acquire(std::move(request), observer_);
  }

  // It becomes READY and idle.
  void Finish(residency::Ticket ticket) {
    backend_.FinishLoad(manager_);
    if (!observer_->granted()) Die("the manager did not grant");
    clock_.Advance(std::chrono::seconds(1));
    manager_.Release(ticket);
  }

  void Fill(int index) { Finish(Acquire(NewName(index))); }

  // Full again when it returns.
  Took Decide(const std::string& name, size_t victims) {
    const residency::Ticket ticket = Acquire(name);
    if (backend_.released.size() != victims) Die("the manager did not make room");
    const Took took = {Millis(backend_.last_release.wall - catalog_.planned.wall),
                       backend_.last_release.cpu_millis - catalog_.planned.cpu_millis};
    backend_.FinishReleases(manager_);
    Finish(ticket);
    return took;
  }

  base::ManualClock clock_;
  base::InlineExecutor executor_;
  TimedCatalog catalog_;
  TimedBackend backend_;
  residency::Manager manager_;
  std::shared_ptr<residency::RecordingObserver> observer_;
};

int Main() {
  if (RaiseFdLimit() < 2 * kResidencies) {  // a table each
    Print({.name = "the planner: not measured, ulimit -Hn is too low"});
    return kNothingToMeasure;
  }
  return Bench().Run() ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main() { return modeld::bench::RunBench(modeld::bench::Main); }
