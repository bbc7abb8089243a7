// Who gets room, and in which order.

#include <gmock/gmock.h>

#include "manager_fixture.h"

namespace modeld::residency {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using wire::Reason;

class RoomTest : public ManagerTest {};

TEST_F(RoomTest, IsWaitedForOnlyByThoseWhoWantTo) {
  const Held held = Hold("big");  // 8 of 10 units
  const Held impatient = Acquire("a");
  ASSERT_EQ(impatient->end_reason(), Reason::kBudgetExceeded);
  const Held patient = Await("a");
  EXPECT_THAT(patient->ends, IsEmpty());
  manager_.Release(held.ticket);  // and now it can go
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(patient->granted());
}

TEST_F(RoomTest, IsRefusedInAnyCaseToWhatIsLargerThanTheCapacity) {
  EXPECT_EQ(Await("huge")->end_reason(), Reason::kBudgetExceeded);
}

TEST_F(RoomTest, NamesTheHoldersWhileItIsWaitedFor) {
  const Held held = Hold("big", 7);
  const Held waiting = Await("a");
  const Progress& progress = waiting->progresses.back();
  EXPECT_EQ(progress.phase, Phase::kWaiting);
  EXPECT_EQ(progress.bytes_done, 2 * kUnit);
  EXPECT_EQ(progress.bytes_total, 4 * kUnit);
  EXPECT_EQ(progress.message, "held by big: pid 107 (worker)");
  const Held refused = Acquire("b");
  EXPECT_THAT(std::string(refused->ends.at(0).message()),
              AllOf(HasSubstr("no room for b"), HasSubstr("a was there first")));
}

TEST_F(RoomTest, GoesToWhoeverCameFirstThoughALaterOneWouldFit) {
  const Held held = Hold("big");
  const Held first = Await("a");  // needs 4, 2 are free
  catalog_.Put("small", 1);
  const Held small = Await("small", 2);
  EXPECT_THAT(small->grants, IsEmpty());
  EXPECT_THAT(backend_.loads, IsEmpty());
  manager_.Release(held.ticket);
  backend_.FinishReleases(manager_);
  ASSERT_EQ(backend_.loads.size(), 2u);
  EXPECT_EQ(backend_.loads[0].record.reference(), "a");
}

TEST_F(RoomTest, IsNotKeptForAWaitThatWasGivenUp) {
  const Held held = Hold("big");
  const Held first = Await("a");
  catalog_.Put("small", 1);
  const Held small = Await("small", 2);
  manager_.Release(first.ticket);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(small->granted());
  EXPECT_EQ(Look().devices.at(0).reserved_bytes, 0u);
}

TEST_F(RoomTest, EndsAWaitForItAtTheDeadline) {
  const Held held = Hold("big");
  const Held waiting = Await("a", 1, std::chrono::seconds(3));
  clock_.Advance(std::chrono::seconds(3));
  EXPECT_EQ(waiting->end_reason(), Reason::kDeadlineExceeded);
  EXPECT_EQ(Look().devices.at(0).reserved_bytes, 0u);
  EXPECT_TRUE(Look().residencies.size() == 1);
}

TEST_F(RoomTest, RefusesTheImpatientOfOneLoadAndKeepsThePatient) {
  const Held held = Hold("big");
  const Held patient = Await("a", 2);
  const Held impatient = Acquire("a", 3);
  ASSERT_EQ(impatient->ends.size(), 1u);
  EXPECT_EQ(impatient->end_reason(), Reason::kBudgetExceeded);
  EXPECT_THAT(patient->ends, IsEmpty());
  // And when the patient one leaves, so does the residency.
  manager_.Release(patient.ticket);
  EXPECT_EQ(Look().residencies.size(), 1u);
}

TEST_F(RoomTest, ComesFromAnUnpinnedOneToo) {
  const std::string id = MakeIdle("big");
  manager_.SetPinned(id, true, [](const absl::StatusOr<ResidencyInfo>&) {});
  const Held waiting = Await("a");
  EXPECT_THAT(waiting->progresses.back().message, HasSubstr("big: pinned"));
  manager_.SetPinned(id, false, [](const absl::StatusOr<ResidencyInfo>&) {});
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(waiting->granted());
}

TEST_F(RoomTest, ComesFromALoadThatFails) {
  const Held loading = Acquire("big");
  const Held waiting = Await("a");
  EXPECT_THAT(waiting->progresses.back().message, HasSubstr("by loads under way"));
  backend_.FailLoad(manager_, wire::MakeError(Reason::kReadFailed, "no"));
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(waiting->granted());
}

TEST_F(RoomTest, IsRefusedToACopyThatWouldWaitForWhatItIsMadeFrom) {
  const std::string id = MakeIdle("big");
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf("big@0");
  manager_.OnDigest(id, digests);
  AcquireRequest request =
      Request({.reference = wire::DigestText(digests->content->weights), .instance = "second"}, 2);
  request.wait_for_room = true;
  const Held copy = Acquire(std::move(request));  // needs 8, 2 are free, 8 are what it is made from
  ASSERT_EQ(copy->ends.size(), 1u);
  EXPECT_EQ(copy->end_reason(), Reason::kBudgetExceeded);
  // And nobody else is kept from the room.
  const Held other = Acquire("a");
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(other->granted());
}

TEST_F(RoomTest, IsGivenToTheFirstOfTwoCopiesThatKeepEachOtherFromIt) {
  catalog_.Put("d", 3);
  std::vector<std::string> digests_of;
  for (const char* name : {"b", "d"}) {  // 4 and 3 of 10 units
    const std::string id = MakeIdle(name);
    auto digests = std::make_shared<ResidentDigests>();
    digests->content = DigestsOf(absl::StrCat(name, "@0"));
    manager_.OnDigest(id, digests);
    digests_of.push_back(wire::DigestText(digests->content->weights));
  }
  catalog_.Put("e", 3);
  const Held holder = Hold("e");  // full now
  std::vector<Held> copies;
  for (const std::string& digest : digests_of) {
    AcquireRequest request = Request({.reference = digest, .instance = "second"}, 2);
    request.wait_for_room = true;
    copies.push_back(Acquire(std::move(request)));
  }
  manager_.Release(holder.ticket);
  backend_.FinishReleases(manager_);
  // 3 are free; the first needs 4, and gets what the second was to be made from.
  ASSERT_EQ(copies[1]->ends.size(), 1u);
  EXPECT_EQ(copies[1]->end_reason(), Reason::kBudgetExceeded);
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(copies[0]->granted());
}

TEST_F(RoomTest, IsWaitedForByACopyAsLongAsOthersHaveIt) {
  MakeIdle("a");
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf("a@0");
  manager_.OnDigest(Look().residencies.at(0).id, digests);
  const Held holder = Hold("b");
  AcquireRequest request =
      Request({.reference = wire::DigestText(digests->content->weights), .instance = "second"}, 2);
  request.wait_for_room = true;
  const Held copy = Acquire(std::move(request));
  EXPECT_THAT(copy->ends, IsEmpty());
  manager_.Release(holder.ticket);
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(copy->granted());
}

TEST_F(RoomTest, IsLookedForAgainWhenAPinGoesFromWhatACopyIsMadeFrom) {
  const std::string id = MakeIdle("big");
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf("big@0");
  manager_.OnDigest(id, digests);
  manager_.SetPinned(id, true, [](const absl::StatusOr<ResidencyInfo>&) {});
  AcquireRequest request =
      Request({.reference = wire::DigestText(digests->content->weights), .instance = "second"}, 2);
  request.wait_for_room = true;
  const Held copy = Acquire(std::move(request));
  EXPECT_THAT(copy->ends, IsEmpty());
  manager_.SetPinned(id, false, [](const absl::StatusOr<ResidencyInfo>&) {});
  ASSERT_EQ(copy->ends.size(), 1u);
  EXPECT_EQ(copy->end_reason(), Reason::kBudgetExceeded);
}

class ProtectedTest : public ManagerTest {
 protected:
  ProtectedTest()
      : ManagerTest({.min_residency = std::chrono::seconds(30),
                     .adoption_grace = std::chrono::seconds(10)}) {}
};

TEST_F(ProtectedTest, IsWhatWasLoadedAMomentAgoAndEverybodyWaits) {
  MakeIdle("big");
  const Held waiting = Acquire("a");
  EXPECT_THAT(waiting->ends, IsEmpty());
  EXPECT_EQ(waiting->progresses.back().phase, Phase::kWaiting);
  clock_.Advance(std::chrono::seconds(29));
  EXPECT_THAT(backend_.released, IsEmpty());
  clock_.Advance(std::chrono::seconds(1));
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(waiting->granted());
}

TEST_F(ProtectedTest, MayStillBeEvictedByAnOperator) { EXPECT_TRUE(Evict(MakeIdle("big")).ok()); }

TEST_F(ProtectedTest, IsWhatAnEarlierModeldLeftUntilItsHoldersHadTheirTime) {
  const auto plan = MakePlan(8 * kUnit);
  ResidencyRecord record;
  record.id = "00000000000000aa";
  record.sources = {{.content_key = "k", .format = "safetensors", .references = {"r"}}};
  record.device = "host";
  record.generation = 3;
  record.keep_alive = base::Duration(0);
  manager_.OnInventory(record, backend_.Memory(record.id, *plan), nullptr);
  EXPECT_EQ(wire::GetReason(Evict(record.id).status()), Reason::kResidencyLeased);
  const Held waiting = Acquire("a");
  clock_.Advance(std::chrono::seconds(9));
  EXPECT_THAT(backend_.released, IsEmpty());
  // Its holder is back in time, and keeps it beyond.
  AcquireRequest request = Request({.reference = "r"}, 2);
  request.resume = ResumeRequest{.residency_id = record.id, .generation = 3};
  const Held back = Acquire(std::move(request));
  ASSERT_TRUE(back->granted());
  clock_.Advance(std::chrono::seconds(60));
  EXPECT_THAT(backend_.released, IsEmpty());
  EXPECT_EQ(waiting->end_reason(), Reason::kBudgetExceeded);
}

}  // namespace
}  // namespace modeld::residency
