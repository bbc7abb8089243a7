// Evicting what is held: ask, wait, free.

#include <gmock/gmock.h>

#include "manager_fixture.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wire::Reason;

class DrainTest : public ManagerTest {
 protected:
  using Results = std::vector<absl::StatusOr<EvictResult>>;

  std::shared_ptr<Results> Ask(EvictRequest request) {
    auto results = std::make_shared<Results>();
    manager_.Evict(std::move(request), [results](const absl::StatusOr<EvictResult>& result) {
      results->push_back(result);
    });
    return results;
  }
};

TEST_F(DrainTest, AsksTheHoldersAndFreesWhenTheLastHasLeft) {
  const Held one = Hold("a", 1);
  const Held two = Acquire("a", 2);
  const std::string id = one->grants.at(0).residency_id;
  const auto results = Ask({.selector = id, .drain = true});
  EXPECT_THAT(one->drains, SizeIs(1));
  EXPECT_THAT(two->drains, SizeIs(1));
  EXPECT_EQ(InfoOf(id).state, State::kDraining);
  manager_.Release(one.ticket);
  EXPECT_THAT(backend_.released, IsEmpty());
  manager_.Release(two.ticket);
  EXPECT_THAT(backend_.released, ElementsAre(id));
  EXPECT_THAT(*results, IsEmpty());
  backend_.FinishReleases(manager_);
  ASSERT_THAT(*results, SizeIs(1));
  EXPECT_EQ((*results)[0].value().freed_bytes, 4 * kUnit);
}

TEST_F(DrainTest, HandsItOutToNobodyElse) {
  const Held holder = Hold("a");
  Ask({.selector = "a", .drain = true});
  const Held later = Acquire("a", 2);
  EXPECT_FALSE(later->granted());
  backend_.FinishLoad(manager_);
  ASSERT_TRUE(later->granted());
  EXPECT_NE(later->grants[0].residency_id, holder->grants[0].residency_id);
}

TEST_F(DrainTest, LeavesTheHoldersTheirMemoryAfterAReconnectAndAsksThemAgain) {
  const Held holder = Hold("a");
  const Grant& grant = holder->grants.at(0);
  Ask({.selector = "a", .drain = true});
  AcquireRequest request = Request({.reference = "a"});
  request.resume = ResumeRequest{grant.residency_id, grant.generation};
  const Held back = Acquire(std::move(request));
  ASSERT_TRUE(back->granted());
  EXPECT_THAT(back->drains, SizeIs(1));
}

TEST_F(DrainTest, WaitsOnlyAsLongAsAskedAndGoesOnAllTheSame) {
  const Held holder = Hold("a", 5);
  const auto results = Ask(
      {.selector = "a", .drain = true, .drain_deadline = clock_.Now() + std::chrono::seconds(2)});
  clock_.Advance(std::chrono::seconds(2));
  ASSERT_THAT(*results, SizeIs(1));
  EXPECT_EQ(wire::GetReason((*results)[0].status()), Reason::kResidencyLeased);
  EXPECT_THAT(std::string((*results)[0].status().message()), HasSubstr("pid 105"));
  manager_.Release(holder.ticket);
  EXPECT_THAT(backend_.released, SizeIs(1));
  backend_.FinishReleases(manager_);
  EXPECT_THAT(*results, SizeIs(1));
}

TEST_F(DrainTest, SparesThePinned) {
  const Held holder = Hold("a");
  manager_.SetPinned("a", true, [](const absl::StatusOr<ResidencyInfo>&) {});
  const auto results = Ask({.selector = "a", .drain = true});
  EXPECT_EQ(wire::GetReason(results->at(0).status()), Reason::kResidencyPinned);
  EXPECT_THAT(holder->drains, IsEmpty());
}

TEST_F(DrainTest, GivesItsRoomToWhoeverWaitsForIt) {
  const Held holder = Hold("big");
  const Held waiting = Await("a", 2);
  Ask({.selector = "big", .drain = true});
  manager_.Release(holder.ticket);
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(waiting->granted());
}

TEST_F(DrainTest, GoesOnUnderTheNextModeld) {
  const Held holder = Hold("a");
  const std::string id = holder->grants.at(0).residency_id;
  Ask({.selector = "a", .drain = true});
  EXPECT_TRUE(backend_.records.at(id).draining);
  // As the next one would find it.
  ResidencyRecord record = backend_.records.at(id);
  record.id = "00000000000000bb";
  record.generation = 77;
  const auto plan = MakePlan(kUnit);
  manager_.OnInventory(record, backend_.Memory(record.id, *plan), nullptr);
  EXPECT_THAT(backend_.released, ElementsAre(record.id));  // nobody has come back to it
}

TEST_F(DrainTest, IsOnlyDescribedByADryRun) {
  const Held holder = Hold("a", 3);
  const std::string id = holder->grants.at(0).residency_id;
  const auto refused = Ask({.selector = id, .dry_run = true});
  EXPECT_EQ(wire::GetReason(refused->at(0).status()), Reason::kResidencyLeased);
  const auto drained = Ask({.selector = id, .drain = true, .dry_run = true});
  EXPECT_EQ(drained->at(0).value().freed_bytes, 4 * kUnit);
  ASSERT_THAT(drained->at(0).value().holders, SizeIs(1));
  EXPECT_EQ(drained->at(0).value().holders[0].holder.pid, 103);
  EXPECT_EQ(InfoOf(id).state, State::kReady);
  EXPECT_THAT(holder->drains, IsEmpty());
  manager_.Release(holder.ticket);
  EXPECT_TRUE(Ask({.selector = id, .dry_run = true})->at(0).ok());
  EXPECT_EQ(InfoOf(id).state, State::kReady);
}

TEST_F(DrainTest, IsLostWithItsDevicesMemory) {
  backend_.kind = wire::SegmentKind::kCudaIpc;
  const Held holder = Hold("a");
  const auto results = Ask({.selector = "a", .drain = true});
  manager_.OnAgentDown("host", wire::MakeError(Reason::kDeviceLost, "killed"));
  EXPECT_THAT(holder->losses, SizeIs(1));
  EXPECT_THAT(*results, SizeIs(1));
  EXPECT_EQ(Look().devices.at(0).resident_bytes, 0u);
}

TEST_F(DrainTest, IsKnownToTheAgentWhileHoldersMayComeBack) {
  manager_.SetPolicy({.adoption_grace = std::chrono::seconds(10)});
  const auto plan = MakePlan(4 * kUnit);
  ResidencyRecord record;
  record.id = "00000000000000aa";
  record.sources = {{.content_key = "k", .format = "safetensors", .references = {"r"}}};
  record.device = "host";
  manager_.OnInventory(record, backend_.Memory(record.id, *plan), nullptr);
  manager_.Evict({.selector = record.id, .drain = true}, [](const auto&) {});
  EXPECT_THAT(backend_.released, IsEmpty());
  EXPECT_TRUE(backend_.records.at(record.id).draining);
}

}  // namespace
}  // namespace modeld::residency
