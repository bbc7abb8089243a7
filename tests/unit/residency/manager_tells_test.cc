// What a manager tells those who count: how acquires were answered, and why things ended.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;

class ManagerTellsTest : public ::testing::Test {
 protected:
  ManagerTellsTest()
      : manager_({.catalog = &catalog_,
                  .resolve_executor = &executor_,
                  .plan_executor = &executor_,
                  .clock = &clock_,
                  .timer = &clock_,
                  .on_acquired = [this](AcquireResult result, base::Duration took) {
                    results_.push_back(result);
                    took_ = took;
                  }}) {
    manager_.AddDevice("host", 10 * FakeCatalog::kUnit, &backend_);
    manager_.OnAgentUp("host", {.pid = 7, .export_kind = "memfd", .page_size_bytes = 4096});
    for (const char* name : {"a", "b"}) catalog_.Put(name, 6);
    catalog_.Put("huge", 11);
  }

  Ticket Acquire(const std::string& reference, std::optional<ResumeRequest> resume = {}) {
    AcquireRequest request;
    request.spec.reference = reference;
    request.resume = std::move(resume);
    request.deadline = clock_.Now() + std::chrono::seconds(10);
    observers_.push_back(std::make_shared<RecordingObserver>());
    return manager_.Acquire(std::move(request), observers_.back());
  }

  std::vector<std::string> CausesOf(EventType type) {
    std::vector<std::string> causes;
    for (const Event& event : manager_.events().History(1000)) {
      if (event.type == type) causes.push_back(event.cause);
    }
    return causes;
  }

  base::InlineExecutor executor_;
  base::ManualClock clock_;
  FakeCatalog catalog_;
  FakeBackend backend_;
  std::vector<AcquireResult> results_;
  base::Duration took_{};
  std::vector<std::shared_ptr<RecordingObserver>> observers_;
  Manager manager_;
};

TEST_F(ManagerTellsTest, WhoLoadedWhoJoinedAndWhoFoundItThere) {
  Acquire("a");
  Acquire("a");
  clock_.Advance(std::chrono::seconds(2));
  backend_.FinishLoad(manager_);
  EXPECT_THAT(results_, ElementsAre(AcquireResult::kLoaded, AcquireResult::kJoined));
  EXPECT_EQ(took_, std::chrono::seconds(2));
  Acquire("a");
  EXPECT_EQ(results_.back(), AcquireResult::kHit);
  EXPECT_EQ(took_, base::Duration::zero());
  const Grant grant = observers_.front()->grants.at(0);
  Acquire("a", ResumeRequest{grant.residency_id, grant.generation});
  EXPECT_EQ(results_.back(), AcquireResult::kResumed);
  EXPECT_EQ(results_.size(), 4u);
}

TEST_F(ManagerTellsTest, RefusedFailedAndCancelledApart) {
  Acquire("huge");
  EXPECT_THAT(results_, ElementsAre(AcquireResult::kRefused));
  Acquire("none");
  EXPECT_EQ(results_.back(), AcquireResult::kFailed);
  manager_.Release(Acquire("a"));
  EXPECT_EQ(results_.back(), AcquireResult::kCancelled);
  backend_.FailLoad(manager_, absl::CancelledError());
  Acquire("b");
  clock_.Advance(std::chrono::seconds(11));
  EXPECT_EQ(results_.back(), AcquireResult::kRefused) << "no time left";
  EXPECT_EQ(results_.size(), 4u);
}

TEST_F(ManagerTellsTest, NothingOfWhatOperatorsLoad) {
  manager_.Preload({.spec = {.reference = "a"}}, std::make_shared<RecordingPreload>());
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(results_.empty());
}

TEST_F(ManagerTellsTest, WhyLeasesEnd) {
  const Ticket released = Acquire("a");
  const Ticket died = Acquire("a");
  const Ticket stopped = Acquire("a");
  backend_.FinishLoad(manager_);
  manager_.Release(released);
  manager_.Release(died, /*holder_died=*/true);
  manager_.BeginShutdown();
  manager_.Release(stopped);
  EXPECT_THAT(CausesOf(EventType::kLeaseEnded), ElementsAre("released", "died", "stopping"));
}

TEST_F(ManagerTellsTest, WhyResidenciesGo) {
  const Ticket first = Acquire("a");
  backend_.FinishLoad(manager_);
  manager_.Release(first);
  const Ticket second = Acquire("b");  // needs the room
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  manager_.Release(second);
  manager_.Evict({.selector = "b"}, [](const absl::StatusOr<EvictResult>&) {});
  EXPECT_THAT(CausesOf(EventType::kResidencyDraining), ElementsAre("room", "operator"));
}

}  // namespace
}  // namespace modeld::residency
