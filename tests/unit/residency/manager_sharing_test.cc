// What has tensors in common with something resident.

#include <gmock/gmock.h>

#include <set>
#include <string>
#include <utility>

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

TEST_F(SharingTest, BorrowsASegmentThatSeveralHaveFromOne) {
  for (const char* word : {"abcd", "abce", "abde"}) {
    catalog_.Write(word, word);
    const auto held = Acquire(word);
    for (const LoadJob& reading : std::exchange(backend_.readings, {})) {
      manager_.OnIdentified(reading.record.id, model::DigestsOf(word));
    }
    ASSERT_EQ(backend_.loads.size(), 1u);
    std::set<std::string> borrowed;
    for (const BorrowedSegment& one : backend_.loads.at(0).borrowed) {
      EXPECT_TRUE(borrowed.insert(one.segment->id).second) << one.segment->id;
    }
    EXPECT_EQ(borrowed.empty(), word == std::string("abcd"));
    backend_.FinishLoad(manager_);
    auto digests = std::make_shared<ResidentDigests>();
    digests->content = model::DigestsOf(word);
    manager_.OnDigest(held->grants.at(0).residency_id, digests);
  }
}

TEST_F(SharingTest, EndsWithTheMemoryOfTheLender) {
  backend_.kind = wire::SegmentKind::kCudaIpc;
  manager_.SetPolicy({.min_residency = std::chrono::seconds(30)});
  catalog_.Write("lender", "abcd");
  catalog_.Write("protected", "klmn");
  catalog_.Write("borrower", "abce");
  const auto lender = Acquire("lender");
  backend_.FinishLoad(manager_);
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = model::DigestsOf("abcd");
  manager_.OnDigest(lender->grants.at(0).residency_id, digests);
  Acquire("protected");
  backend_.FinishLoad(manager_);
  manager_.Release(last_);
  const auto borrower = Acquire("borrower");
  ASSERT_EQ(backend_.readings.size(), 1u);
  manager_.OnIdentified(backend_.readings.at(0).record.id, model::DigestsOf("abce"));
  ASSERT_TRUE(backend_.loads.empty());

  manager_.OnAgentDown("host", wire::MakeError(wire::Reason::kDeviceUnavailable, "died"));
  EXPECT_EQ(lender->losses.size(), 1u);
  manager_.OnAgentUp("host", {.pid = 8});
  ASSERT_EQ(backend_.loads.size(), 1u);
  EXPECT_TRUE(backend_.loads.at(0).borrowed.empty());
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(borrower->granted());
}

}  // namespace
}  // namespace modeld::residency
