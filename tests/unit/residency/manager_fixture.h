// A manager on one device, all of whose surroundings a test has in its hand.

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fakes.h"

namespace modeld::residency {

inline constexpr uint64_t kUnit = FakeCatalog::kUnit;

// Everything inline, time by hand: what a call causes has happened when it returns.
class ManagerTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kCapacity = 10 * kUnit;

  explicit ManagerTest(const Policy& policy = {.adoption_grace = base::Duration(0)})
      : manager_({.catalog = &catalog_,
                  .resolve_executor = &executor_,
                  .plan_executor = &executor_,
                  .clock = &clock_,
                  .timer = &clock_,
                  .state = &state_,
                  .policy = policy}) {
    manager_.AddDevice("host", kCapacity, &backend_);
    manager_.OnAgentUp("host", {.pid = 7, .export_kind = "memfd", .page_size_bytes = 4096});
    for (const char* name : {"a", "b", "c"}) catalog_.Put(name, 4);
    catalog_.Put("big", 8);
    catalog_.Put("huge", 11);
  }

  struct Held {
    Ticket ticket = 0;
    std::shared_ptr<RecordingObserver> observer = std::make_shared<RecordingObserver>();
    RecordingObserver* operator->() const { return observer.get(); }
  };

  // What a worker of that session would send.
  AcquireRequest Request(const ModelSpec& spec, uint64_t session = 1,
                         std::optional<base::Duration> timeout = {}) {
    AcquireRequest request;
    request.spec = spec;
    request.holder.session = session;
    request.holder.pid = 100 + static_cast<pid_t>(session);
    request.holder.program = "worker";
    if (timeout) request.deadline = clock_.Now() + *timeout;
    return request;
  }

  Held Acquire(AcquireRequest request) {
    Held held;
    held.ticket = manager_.Acquire(std::move(request), held.observer);
    return held;
  }
  Held Acquire(const ModelSpec& spec, uint64_t session = 1,
               std::optional<base::Duration> timeout = {}) {
    return Acquire(Request(spec, session, timeout));
  }
  Held Acquire(const std::string& reference, uint64_t session = 1,
               std::optional<base::Duration> timeout = {}) {
    return Acquire(ModelSpec{.reference = reference}, session, timeout);
  }

  // Waits for room.
  Held Await(const std::string& reference, uint64_t session = 1,
             std::optional<base::Duration> timeout = {}) {
    AcquireRequest request = Request({.reference = reference}, session, timeout);
    request.wait_for_room = true;
    return Acquire(std::move(request));
  }

  // Makes it READY and holds it.
  Held Hold(const std::string& reference, uint64_t session = 1) {
    Held held = Acquire(reference, session);
    backend_.FinishLoad(manager_);
    return held;
  }

  ResidencyInfo InfoOf(const std::string& id) {
    for (const ResidencyInfo& info : Look(/*include_ended=*/true).residencies) {
      if (info.id == id) return info;
    }
    return {};
  }

  // Makes it READY and idle; returns its id.
  std::string MakeIdle(const std::string& reference) {
    const Held held = Acquire(reference);
    backend_.FinishLoad(manager_);
    manager_.Release(held.ticket);
    return held->grants.at(0).residency_id;
  }

  Snapshot Look(bool include_ended = false) {
    Snapshot snapshot;
    SnapshotParts parts = SnapshotParts::All();
    parts.ended = include_ended;
    manager_.GetSnapshot(parts, [&](Snapshot s) { snapshot = std::move(s); });
    return snapshot;
  }

  absl::StatusOr<EvictResult> Evict(const std::string& selector) {
    absl::StatusOr<EvictResult> result = absl::UnknownError("not answered");
    manager_.Evict({.selector = selector},
                   [&](absl::StatusOr<EvictResult> r) { result = std::move(r); });
    backend_.FinishReleases(manager_);
    return result;
  }

  std::vector<std::string> EventTypes() {
    std::vector<std::string> types;
    for (const Event& event : manager_.events().History(100)) {
      types.emplace_back(EventTypeName(event.type));
    }
    return types;
  }

  base::ManualClock clock_;
  base::InlineExecutor executor_;
  FakeCatalog catalog_;
  FakeBackend backend_;
  FakeState state_;
  Manager manager_;
};

}  // namespace modeld::residency
