// What has tensors in common with something resident.

#include <gmock/gmock.h>

#include "base/manual_clock.h"
#include "fakes.h"
#include "model/catalog.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;

// Files of letters, each a tensor of 2 MiB; room for eight.
class SharingTest : public ::testing::Test {
 protected:
  SharingTest()
      : catalog_(chance_),
        manager_({.catalog = &catalog_,
                  .resolve_executor = &executor_,
                  .plan_executor = &executor_,
                  .clock = &clock_,
                  .timer = &clock_}) {
    catalog_.FailSome(false);
    manager_.AddDevice("host", 8 * model::kLetterBytes, &backend_);
    manager_.OnAgentUp("host", {.pid = 7, .export_kind = "memfd", .page_size_bytes = 4096});
  }

  std::shared_ptr<RecordingObserver> Acquire(const std::string& reference) {
    auto observer = std::make_shared<RecordingObserver>();
    AcquireRequest request;
    request.spec.reference = reference;
    last_ = manager_.Acquire(std::move(request), observer);
    return observer;
  }

  model::Chance chance_{1};
  model::ModelCatalog catalog_;
  base::InlineExecutor executor_;
  base::ManualClock clock_;
  FakeBackend backend_;
  Manager manager_;
  Ticket last_ = 0;
};

TEST_F(SharingTest, GivesWayToTheNeedOfRoom) {
  catalog_.Write("idle", "abcd");
  catalog_.Write("held", "klmn");
  catalog_.Write("new", "abce");
  const auto idle = Acquire("idle");
  backend_.FinishLoad(manager_);
  const std::string idle_id = idle->grants.at(0).residency_id;
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = model::DigestsOf("abcd");
  manager_.OnDigest(idle_id, digests);
  manager_.Release(last_);
  const auto held = Acquire("held");
  backend_.FinishLoad(manager_);

  // One more letter would do, but there is no room for one; without the idle one there is for all.
  const auto shared = Acquire("new");
  ASSERT_EQ(backend_.readings.size(), 1u);
  manager_.OnIdentified(backend_.readings.at(0).record.id, model::DigestsOf("abce"));
  EXPECT_THAT(shared->ends, ::testing::IsEmpty());
  EXPECT_THAT(backend_.released, ElementsAre(idle_id));
  backend_.FinishReleases(manager_);
  ASSERT_EQ(backend_.loads.size(), 1u);
  EXPECT_EQ(backend_.loads.at(0).plan->resident_bytes(), 4 * model::kLetterBytes);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(shared->granted());
}

}  // namespace
}  // namespace modeld::residency
