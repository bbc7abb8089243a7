// Names for versions.

#include <gmock/gmock.h>

#include "manager_fixture.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wire::Reason;

class AliasTest : public ManagerTest {
 protected:
  std::shared_ptr<RecordingAlias> Set(const std::string& name, const std::string& reference,
                                      std::optional<base::Duration> keep_alive = {}) {
    auto observer = std::make_shared<RecordingAlias>();
    last_ = manager_.SetAlias(
        {.name = name, .spec = {.reference = reference}, .keep_alive = keep_alive}, observer);
    return observer;
  }
  // And it becomes READY.
  std::shared_ptr<RecordingAlias> SetReady(const std::string& name, const std::string& reference) {
    auto observer = Set(name, reference);
    if (!backend_.loads.empty()) backend_.FinishLoad(manager_);
    return observer;
  }

  Ticket last_ = 0;
};

TEST_F(AliasTest, IsAnotherNameForWhatItWasSetTo) {
  const auto set = SetReady("prod", "a");
  ASSERT_THAT(set->results, SizeIs(1));
  const Held held = Acquire("prod");
  ASSERT_TRUE(held->granted());
  EXPECT_EQ(held->grants[0].residency_id, set->results[0].value().residency.id);
  const ResidencyInfo info = InfoOf(held->grants[0].residency_id);
  EXPECT_THAT(info.aliases, ElementsAre("prod"));
  EXPECT_THAT(info.references, ElementsAre("a"));
  EXPECT_EQ(Look().leases.at(0).reference, "prod");
}

TEST_F(AliasTest, FlipsOnlyWhenTheNewVersionIsReady) {
  SetReady("prod", "a");
  const Held old = Acquire("prod");
  const auto set = Set("prod", "b");
  const Held meanwhile = Acquire("prod", 2);
  ASSERT_TRUE(meanwhile->granted());
  EXPECT_EQ(meanwhile->grants[0].residency_id, old->grants.at(0).residency_id);
  EXPECT_THAT(old->superseded, IsEmpty());
  backend_.FinishLoad(manager_);
  EXPECT_THAT(old->superseded, ElementsAre("prod -> b"));
  EXPECT_THAT(meanwhile->superseded, SizeIs(1));
  EXPECT_EQ(set->results.at(0).value().told_holders, 2u);
  const Held fresh = Acquire("prod", 3);
  EXPECT_NE(fresh->grants.at(0).residency_id, old->grants[0].residency_id);
}

TEST_F(AliasTest, LetsTheOldVersionGoWithItsLastHolder) {
  SetReady("prod", "a");
  const Held old = Acquire("prod");
  SetReady("prod", "b");
  const std::string old_id = old->grants.at(0).residency_id;
  EXPECT_EQ(InfoOf(old_id).state, State::kReady);
  EXPECT_EQ(InfoOf(old_id).superseded_by, "prod");
  manager_.Release(old.ticket);
  EXPECT_THAT(backend_.released, ElementsAre(old_id));
  backend_.FinishReleases(manager_);
  EXPECT_EQ(manager_.events().History(1).at(0).type, EventType::kResidencyEvicted);
}

TEST_F(AliasTest, LeavesWhatSomebodyHoldsByItsPathInMemoryOnce) {
  SetReady("prod", "a");
  const Held by_path = Acquire("a");
  SetReady("prod", "b");
  EXPECT_THAT(by_path->superseded, IsEmpty());
  const Held again = Acquire("a", 2);
  ASSERT_TRUE(again->granted());
  EXPECT_EQ(again->grants[0].residency_id, by_path->grants.at(0).residency_id);
}

TEST_F(AliasTest, CanBeSetBackBeforeTheOldVersionHasGone) {
  SetReady("prod", "a");
  const Held old = Acquire("prod");
  SetReady("prod", "b");
  SetReady("prod", "a");
  EXPECT_THAT(backend_.released, SizeIs(1));  // b, which nobody held
  manager_.Release(old.ticket);
  EXPECT_THAT(backend_.released, SizeIs(1));
  EXPECT_EQ(InfoOf(old->grants.at(0).residency_id).superseded_by, "");
}

TEST_F(AliasTest, SparesWhatHasAnotherNameOrAPin) {
  catalog_.Put("c", 2);
  SetReady("prod", "a");
  SetReady("stable", "a");
  SetReady("prod", "b");
  EXPECT_THAT(backend_.released, IsEmpty());
  manager_.SetPinned("b", true, [](const absl::StatusOr<ResidencyInfo>&) {});
  SetReady("prod", "c");
  EXPECT_THAT(backend_.released, IsEmpty());
}

TEST_F(AliasTest, StaysAsItWasWhenTheNewVersionFails) {
  SetReady("prod", "a");
  const auto set = Set("prod", "b");
  backend_.FailLoad(manager_, wire::MakeError(Reason::kCheckpointMalformed, "b is broken"));
  EXPECT_EQ(wire::GetReason(set->results.at(0).status()), Reason::kCheckpointMalformed);
  EXPECT_EQ(Acquire("prod")->grants.at(0).residency_id, InfoOf(Look().residencies.at(0).id).id);
  EXPECT_EQ(Look().aliases.at(0).spec.reference, "a");
}

TEST_F(AliasTest, StaysAsItWasWhenItCannotBeMadeDurable) {
  SetReady("prod", "a");
  state_.error = absl::ResourceExhaustedError("the disk is full");
  const auto set = SetReady("prod", "b");
  EXPECT_THAT(std::string(set->results.at(0).status().message()), HasSubstr("disk is full"));
  EXPECT_EQ(Look().aliases.at(0).spec.reference, "a");
}

TEST_F(AliasTest, IsDurableBeforeAnybodySeesIt) {
  state_.hold = true;
  const auto set = SetReady("prod", "a");
  EXPECT_THAT(set->results, IsEmpty());
  EXPECT_THAT(Look().aliases, IsEmpty());
  EXPECT_EQ(wire::GetReason(Evict("a").status()), Reason::kResidencyLeased);
  state_.Finish();
  EXPECT_THAT(set->results, SizeIs(1));
  EXPECT_THAT(Look().aliases, SizeIs(1));
}

TEST_F(AliasTest, DoesNotMoveWhenTheFileDoes) {
  SetReady("prod", "a");
  catalog_.Replace("a");
  // While the version is resident it is served, whatever lies on the disk.
  EXPECT_TRUE(Acquire("prod")->granted());
  const Held by_path = Acquire("a", 2);
  EXPECT_FALSE(by_path->granted());
}

TEST_F(AliasTest, RefusesAFileThatIsNotItsVersionAnyMore) {
  SetReady("prod", "a");
  ASSERT_TRUE(Evict("prod").ok());
  catalog_.Replace("a");
  const Held held = Acquire("prod");
  EXPECT_EQ(held->end_reason(), Reason::kCheckpointChanged);
  EXPECT_THAT(wire::GetErrorInfo(held->ends.at(0)).hint, HasSubstr("modelctl alias set prod a"));
}

TEST_F(AliasTest, TakesOtherFilesOfTheSameContentOnceItsDigestIsKnown) {
  catalog_.PutContent("a", 4, "weights");
  const auto set = SetReady("prod", "a");
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf("weights");
  manager_.OnDigest(set->results.at(0).value().residency.id, digests);
  EXPECT_EQ(Look().aliases.at(0).digest, wire::DigestText(DigestsOf("weights")->weights));
  ASSERT_TRUE(Evict("prod").ok());
  catalog_.Replace("a");
  catalog_.Cache("a");
  const Held held = Acquire("prod");
  backend_.FinishLoad(manager_);
  ASSERT_TRUE(held->granted());
  // They are the version.
  EXPECT_THAT(held->superseded, IsEmpty());
  EXPECT_THAT(InfoOf(held->grants[0].residency_id).aliases, ElementsAre("prod"));
  SetReady("prod", "b");
  EXPECT_THAT(held->superseded, ElementsAre("prod -> b"));
}

TEST_F(AliasTest, SetsTheKeepAliveOfThoseWhoSayNothing) {
  Set("prod", "a", base::Duration(0));
  backend_.FinishLoad(manager_);
  backend_.FinishReleases(manager_);  // nobody held it
  const Held held = Acquire("prod");
  backend_.FinishLoad(manager_);
  EXPECT_THAT(backend_.released, IsEmpty());
  manager_.Release(held.ticket);
  EXPECT_THAT(backend_.released, SizeIs(1));
}

TEST_F(AliasTest, HasALoadConfigurationOfItsOwn) {
  SetReady("prod", "a");
  ModelSpec spec{.reference = "prod"};
  spec.config.include = {"x*"};
  EXPECT_EQ(Acquire(spec)->end_reason(), Reason::kFieldInvalid);
}

TEST_F(AliasTest, OfAnAliasIsWhatThatNamesNow) {
  SetReady("staging", "a");
  SetReady("prod", "staging");
  SetReady("staging", "b");
  EXPECT_EQ(Look().aliases.at(0).name, "prod");
  EXPECT_EQ(Look().aliases.at(0).spec.reference, "a");
}

TEST_F(AliasTest, IsForgottenWhenItIsRemoved) {
  SetReady("prod", "a");
  const Held held = Acquire("prod");
  absl::StatusOr<Alias> removed = absl::UnknownError("not answered");
  manager_.RemoveAlias("prod", [&](absl::StatusOr<Alias> r) { removed = std::move(r); });
  EXPECT_EQ(removed.value().spec.reference, "a");
  EXPECT_EQ(Acquire("prod")->end_reason(), Reason::kCheckpointNotFound);
  EXPECT_THAT(held->ends, IsEmpty());
  manager_.RemoveAlias("prod", [&](absl::StatusOr<Alias> r) { removed = std::move(r); });
  EXPECT_EQ(wire::GetReason(removed.status()), Reason::kAliasNotFound);
}

TEST_F(AliasTest, TellsWhoeverWasAwayAtTheFlip) {
  SetReady("prod", "a");
  const Held held = Acquire("prod");
  SetReady("prod", "b");
  AcquireRequest request = Request({.reference = "prod"});
  request.resume = ResumeRequest{held->grants.at(0).residency_id, held->grants.at(0).generation};
  EXPECT_THAT(Acquire(std::move(request))->superseded, ElementsAre("prod -> b"));
}

TEST_F(AliasTest, AndPinsAreTakenOverFromAnEarlierModeld) {
  SetReady("prod", "a");
  manager_.SetPinned("prod", true, [](const absl::StatusOr<ResidencyInfo>&) {});
  DurableState state;
  for (const StateChange& change : state_.changes) {
    if (const auto* set = std::get_if<residency::SetAlias>(&change)) {
      state.aliases[set->alias.name] = set->alias;
    }
    if (const auto* pin = std::get_if<SetPin>(&change)) state.pins[pin->key] = pin->reference;
  }
  FakeBackend backend;
  Manager next({.catalog = &catalog_,
                .resolve_executor = &executor_,
                .plan_executor = &executor_,
                .clock = &clock_,
                .timer = &clock_});
  next.AddDevice("host", kCapacity, &backend);
  next.Restore(state);
  next.OnAgentUp("host", {.pid = 8});
  auto observer = std::make_shared<RecordingObserver>();
  next.Acquire(Request({.reference = "prod"}), observer);
  backend.FinishLoad(next);
  ASSERT_TRUE(observer->granted());
  next.Find("prod", [](const absl::StatusOr<ResidencyInfo>& info) {
    EXPECT_TRUE(info.value().pinned);
    EXPECT_THAT(info.value().aliases, ElementsAre("prod"));
  });
}

TEST_F(AliasTest, IsNotSetByACallThatWasCancelled) {
  const auto set = Set("prod", "a");
  manager_.Release(last_);
  EXPECT_THAT(backend_.cancelled, SizeIs(1));
  EXPECT_THAT(set->results, IsEmpty());
  EXPECT_THAT(Look().aliases, IsEmpty());
}

TEST_F(AliasTest, LearnsADigestThatCameWhileItWasSaved) {
  state_.hold = true;
  const auto set = SetReady("prod", "a");
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf(catalog_.ContentOf("a"));
  manager_.OnDigest(Look().residencies.at(0).id, digests);
  state_.hold = false;
  state_.Finish();
  EXPECT_EQ(Look().aliases.at(0).digest, wire::DigestText(digests->content->weights));
  EXPECT_EQ(set->results.at(0).value().alias.digest, Look().aliases.at(0).digest);
}

TEST_F(AliasTest, IsNotSavedAsItWasAfterItWasSavedAsItIs) {
  const auto set = SetReady("prod", "a");
  state_.hold = true;
  manager_.RemoveAlias("prod", [](const auto&) {});
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf(catalog_.ContentOf("a"));
  manager_.OnDigest(set->results.at(0).value().residency.id, digests);
  state_.hold = false;
  state_.Finish();
  EXPECT_THAT(Look().aliases, IsEmpty());
  EXPECT_TRUE(std::holds_alternative<RemoveAlias>(state_.changes.back()));
}

TEST_F(AliasTest, LearnsTheDigestOfWhatItsFilesTurnOutToBe) {
  const std::string key = (*catalog_.Resolve("b"))->Key();
  manager_.Restore(
      {.aliases = {{"prod", {.name = "prod", .spec = {.reference = "b"}, .content_key = key}}}});
  catalog_.PutContent("b", 4, catalog_.ContentOf("a"));
  for (const char* name : {"a", "b"}) catalog_.Cache(name);
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf(catalog_.ContentOf("a"));
  manager_.OnDigest(MakeIdle("a"), digests);
  ASSERT_TRUE(Acquire("b")->granted());
  EXPECT_EQ(Look().aliases.at(0).digest, wire::DigestText(digests->content->weights));
}

}  // namespace
}  // namespace modeld::residency
