// How long a residency stays that nobody holds.

#include <gmock/gmock.h>

#include "manager_fixture.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class KeepAliveTest : public ManagerTest {
 protected:
  Held AcquireFor(const std::string& reference, base::Duration keep_alive) {
    AcquireRequest request = Request({.reference = reference});
    request.keep_alive = keep_alive;
    return Acquire(std::move(request));
  }
};

TEST_F(KeepAliveTest, IsForeverUnlessSomebodySaysOtherwise) {
  MakeIdle("a");
  clock_.Advance(std::chrono::hours(24 * 365));
  EXPECT_THAT(backend_.released, IsEmpty());
}

TEST_F(KeepAliveTest, CountsFromTheLastRelease) {
  const Held one = AcquireFor("a", std::chrono::minutes(5));
  backend_.FinishLoad(manager_);
  const std::string id = one->grants.at(0).residency_id;
  const Held two = Acquire("a", 2);
  manager_.Release(one.ticket);
  clock_.Advance(std::chrono::minutes(10));
  EXPECT_THAT(backend_.released, IsEmpty());
  manager_.Release(two.ticket);
  ASSERT_TRUE(InfoOf(id).expire_time);
  EXPECT_EQ(*InfoOf(id).expire_time, clock_.WallNow() + std::chrono::minutes(5));
  clock_.Advance(std::chrono::minutes(4));
  EXPECT_THAT(backend_.released, IsEmpty());
  clock_.Advance(std::chrono::minutes(1));
  EXPECT_THAT(backend_.released, ElementsAre(id));
  EXPECT_EQ(manager_.events().History(1).at(0).cause, cause::kExpired);
}

TEST_F(KeepAliveTest, OfZeroEndsItWithTheLastRelease) {
  const Held held = AcquireFor("a", base::Duration(0));
  backend_.FinishLoad(manager_);
  EXPECT_THAT(backend_.released, IsEmpty());
  manager_.Release(held.ticket);
  EXPECT_EQ(backend_.released.size(), 1u);
}

TEST_F(KeepAliveTest, IsTheLastOneThatWasSaid) {
  const Held zero = AcquireFor("a", base::Duration(0));
  backend_.FinishLoad(manager_);
  const Held forever = AcquireFor("a", kForever);
  manager_.Release(zero.ticket);
  manager_.Release(forever.ticket);
  clock_.Advance(std::chrono::hours(1000));
  EXPECT_THAT(backend_.released, IsEmpty());
  manager_.Release(AcquireFor("a", base::Duration(0)).ticket);
  EXPECT_EQ(backend_.released.size(), 1u);
}

TEST_F(KeepAliveTest, DoesNotEndWhatIsPinnedUntilItIsUnpinned) {
  const Held held = AcquireFor("a", base::Duration(0));
  backend_.FinishLoad(manager_);
  const std::string id = held->grants.at(0).residency_id;
  manager_.SetPinned(id, true, [](const absl::StatusOr<ResidencyInfo>&) {});
  manager_.Release(held.ticket);
  EXPECT_THAT(backend_.released, IsEmpty());
  manager_.SetPinned(id, false, [](const absl::StatusOr<ResidencyInfo>&) {});
  EXPECT_THAT(backend_.released, ElementsAre(id));
}

TEST_F(KeepAliveTest, GoesWithTheRecordToTheAgent) {
  const Held held = Acquire("a");
  backend_.FinishLoad(manager_);
  const Held again = AcquireFor("a", std::chrono::minutes(1));
  EXPECT_EQ(backend_.records.at(held->grants.at(0).residency_id).keep_alive,
            base::Duration(std::chrono::minutes(1)));
}

TEST_F(KeepAliveTest, OfThePolicyCanBeChangedAndTakesTheIdleWithIt) {
  const std::string id = MakeIdle("a");
  clock_.Advance(std::chrono::minutes(2));
  manager_.SetPolicy({.keep_alive = std::chrono::minutes(1)});
  EXPECT_THAT(backend_.released, ElementsAre(id));
}

TEST_F(KeepAliveTest, IsNotCutShortByATimerOfAnEarlierRelease) {
  const Held first = AcquireFor("a", std::chrono::minutes(5));
  backend_.FinishLoad(manager_);
  manager_.Release(first.ticket);
  clock_.Advance(std::chrono::minutes(4));
  manager_.Release(Acquire("a").ticket);
  clock_.Advance(std::chrono::minutes(4));
  EXPECT_THAT(backend_.released, IsEmpty());
  clock_.Advance(std::chrono::minutes(1));
  EXPECT_EQ(backend_.released.size(), 1u);
}

TEST_F(KeepAliveTest, IsNotThatOfSomebodyWhoIsRefused) {
  const std::string id = MakeIdle("a");
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf(catalog_.ContentOf("a"));
  manager_.OnDigest(id, digests);
  AcquireRequest request = Request({.reference = "a", .expected_digest = "sha256:00"}, 2);
  request.keep_alive = base::Duration(0);
  const Held refused = Acquire(std::move(request));
  ASSERT_EQ(refused->end_reason(), wire::Reason::kDigestMismatch);
  EXPECT_FALSE(InfoOf(id).keep_alive.has_value());
}

TEST_F(KeepAliveTest, IsKeptOfWhatTurnsOutToBeResident) {
  catalog_.PutContent("same", 4, catalog_.ContentOf("a"));
  for (const char* name : {"a", "same"}) catalog_.Cache(name);
  const std::string id = MakeIdle("a");
  const auto preload = std::make_shared<RecordingPreload>();
  manager_.Preload(
      {.spec = {.reference = "same"}, .no_wait = true, .keep_alive = std::chrono::seconds(7)},
      preload);
  clock_.Advance(std::chrono::seconds(7));
  EXPECT_THAT(backend_.released, ElementsAre(id));
}

}  // namespace
}  // namespace modeld::residency
