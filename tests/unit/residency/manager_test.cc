#include "residency/manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "manager_fixture.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using wire::Reason;

TEST_F(ManagerTest, LoadsOnceForAllWhoAskAtTheSameTime) {
  std::vector<Held> held;
  for (int i = 0; i < 64; ++i) held.push_back(Acquire("a", i + 1));
  ASSERT_EQ(backend_.loads.size(), 1u);
  EXPECT_EQ(catalog_.plan_count(), 1);
  backend_.FinishLoad(manager_);
  for (const Held& h : held) {
    ASSERT_TRUE(h->granted());
    EXPECT_EQ(h->grants[0].residency_id, held[0]->grants[0].residency_id);
  }
  EXPECT_EQ(Look().residencies.at(0).lease_count, 64u);
}

TEST_F(ManagerTest, GrantsWhatIsReadyAtOnceUnderAnyNameOfTheSameFile) {
  const std::string id = MakeIdle("a");
  const Held again = Acquire("a#other");
  ASSERT_TRUE(again->granted());
  EXPECT_EQ(again->grants[0].residency_id, id);
  EXPECT_THAT(Look().residencies.at(0).references, ElementsAre("a", "a#other"));
  EXPECT_THAT(backend_.loads, IsEmpty());
}

TEST_F(ManagerTest, LoadsAgainWhenTheFileHasChangedAndKeepsTheOldForItsHolders) {
  const Held old = Acquire("a");
  backend_.FinishLoad(manager_);
  catalog_.Replace("a");
  const Held fresh = Acquire("a");
  EXPECT_FALSE(fresh->granted());
  backend_.FinishLoad(manager_);
  ASSERT_TRUE(fresh->granted());
  EXPECT_NE(fresh->grants[0].residency_id, old->grants[0].residency_id);
  EXPECT_THAT(old->ends, IsEmpty());
}

TEST_F(ManagerTest, MakesASecondCopyForAnInstanceAndSharesItWithThatInstance) {
  const Held shared = Acquire("a");
  backend_.FinishLoad(manager_);
  const Held one = Acquire(ModelSpec{.reference = "a", .instance = "train"});
  backend_.FinishLoad(manager_);
  const Held two = Acquire(ModelSpec{.reference = "a", .instance = "train"});
  EXPECT_NE(one->grants.at(0).residency_id, shared->grants.at(0).residency_id);
  EXPECT_EQ(one->grants.at(0).residency_id, two->grants.at(0).residency_id);
}

TEST_F(ManagerTest, NeverSharesAPrivateCopyAndFreesItWithItsLease) {
  const Held one = Acquire(ModelSpec{.reference = "a", .private_copy = true});
  backend_.FinishLoad(manager_);
  const Held two = Acquire(ModelSpec{.reference = "a", .private_copy = true});
  backend_.FinishLoad(manager_);
  const Held shared = Acquire("a");
  EXPECT_NE(one->grants.at(0).residency_id, two->grants.at(0).residency_id);
  EXPECT_THAT(shared->ends, ElementsAre(::testing::Not(absl::OkStatus())));  // 12 units do not fit
  manager_.Release(one.ticket);
  EXPECT_THAT(backend_.released, ElementsAre(one->grants[0].residency_id));
  backend_.FinishReleases(manager_);
  EXPECT_EQ(Look().residencies.size(), 1u);
}

TEST_F(ManagerTest, ReservesTheExactSizeBeforeTheAgentIsAsked) {
  const Held held = Acquire("a");
  const DeviceInfo device = Look().devices.at(0);
  EXPECT_EQ(device.reserved_bytes, 4 * kUnit);
  EXPECT_EQ(device.resident_bytes, 0u);
  backend_.FinishLoad(manager_);
  EXPECT_EQ(Look().devices.at(0).reserved_bytes, 0u);
  EXPECT_EQ(Look().devices.at(0).resident_bytes, 4 * kUnit);
}

TEST_F(ManagerTest, RefusesWhatIsLargerThanTheCapacityAndSaysTheNumbers) {
  const Held held = Acquire("huge");
  ASSERT_EQ(held->end_reason(), Reason::kBudgetExceeded);
  const auto info = wire::GetErrorInfo(held->ends[0]);
  EXPECT_EQ(info.metadata.at("needed_bytes"), std::to_string(11 * kUnit));
  EXPECT_EQ(info.metadata.at("free_bytes"), std::to_string(10 * kUnit));
  EXPECT_EQ(info.metadata.at("capacity_bytes"), std::to_string(10 * kUnit));
  EXPECT_THAT(backend_.loads, IsEmpty());
  EXPECT_EQ(Look().devices.at(0).reserved_bytes, 0u);
}

TEST_F(ManagerTest, EvictsTheLongestIdleForRoomAndWaitsUntilItIsGivenBack) {
  const std::string a = MakeIdle("a");
  clock_.Advance(std::chrono::seconds(1));
  const std::string b = MakeIdle("b");
  const Held c = Acquire("c");
  EXPECT_THAT(backend_.released, ElementsAre(a));
  EXPECT_THAT(backend_.loads, IsEmpty());  // not before the agent says so
  ASSERT_FALSE(c->progresses.empty());
  EXPECT_EQ(c->progresses.back().phase, Phase::kWaiting);
  backend_.FinishReleases(manager_);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(c->granted());
}

TEST_F(ManagerTest, EvictsNobodyWhenThatWouldNotBeEnough) {
  MakeIdle("a");
  const Held b = Acquire("b");
  backend_.FinishLoad(manager_);
  const Held big = Acquire("big");
  EXPECT_EQ(big->end_reason(), Reason::kBudgetExceeded);
  EXPECT_THAT(backend_.released, IsEmpty());
}

TEST_F(ManagerTest, DoesNotEvictThePinned) {
  const std::string a = MakeIdle("a");
  manager_.SetPinned(a, true, [](const auto& result) { EXPECT_TRUE(result.ok()); });
  const Held big = Acquire("big");
  EXPECT_EQ(big->end_reason(), Reason::kBudgetExceeded);
  EXPECT_EQ(wire::GetReason(Evict(a).status()), Reason::kResidencyPinned);
}

TEST_F(ManagerTest, RefusesToEvictWhatIsHeldAndNamesTheHolder) {
  const Held held = Acquire("a", 5);
  backend_.FinishLoad(manager_);
  const absl::Status status = Evict("a").status();
  EXPECT_EQ(wire::GetReason(status), Reason::kResidencyLeased);
  EXPECT_THAT(std::string(status.message()), HasSubstr("pid 105 (worker)"));
}

TEST_F(ManagerTest, AnswersAnEvictionWithTheBytesThatCameBack) {
  const std::string a = MakeIdle("a");
  const auto result = Evict(a.substr(0, 6));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->freed_bytes, 4 * kUnit);
  EXPECT_EQ(result->residency.state, State::kEvicted);
  EXPECT_THAT(Look().residencies, IsEmpty());
  EXPECT_EQ(Look(true).residencies.size(), 1u);
  EXPECT_EQ(Look().devices.at(0).resident_bytes, 0u);
}

TEST_F(ManagerTest, EvictsByAnotherNameOfTheSameFile) {
  MakeIdle("a");
  EXPECT_TRUE(Evict("a#link").ok());
}

TEST_F(ManagerTest, CancelsTheLoadWhenTheLastWaiterLeaves) {
  const Held one = Acquire("a");
  const Held two = Acquire("a");
  manager_.Release(one.ticket);
  EXPECT_THAT(backend_.cancelled, IsEmpty());
  manager_.Release(two.ticket);
  EXPECT_EQ(backend_.cancelled.size(), 1u);
  EXPECT_EQ(Look().devices.at(0).reserved_bytes, 4 * kUnit);  // until the agent has let go
  backend_.FailLoad(manager_, absl::CancelledError());
  EXPECT_EQ(Look().devices.at(0).reserved_bytes, 0u);
  EXPECT_THAT(one->ends, IsEmpty());
  EXPECT_THAT(EventTypes(), ::testing::Contains("LOAD_CANCELLED"));
}

TEST_F(ManagerTest, FreesALoadThatFinishedBeforeItsCancellationArrived) {
  const Held held = Acquire("a");
  manager_.Release(held.ticket);
  backend_.FinishLoad(manager_);
  EXPECT_EQ(backend_.released.size(), 1u);
  backend_.FinishReleases(manager_);
  EXPECT_EQ(Look().devices.at(0).resident_bytes, 0u);
  EXPECT_THAT(Look().residencies, IsEmpty());
}

TEST_F(ManagerTest, StartsAnewForWhoeverAsksAfterACancellation) {
  const Held gone = Acquire("a");
  manager_.Release(gone.ticket);
  const Held fresh = Acquire("a");
  ASSERT_EQ(backend_.loads.size(), 2u);
  backend_.FailLoad(manager_, absl::CancelledError());
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(fresh->granted());
}

TEST_F(ManagerTest, TellsEveryWaiterWhyALoadFailedAndGivesTheReservationBack) {
  const Held one = Acquire("a");
  const Held two = Acquire("a");
  backend_.FailLoad(manager_, wire::MakeError(Reason::kCheckpointChanged, "a changed"));
  EXPECT_EQ(one->end_reason(), Reason::kCheckpointChanged);
  EXPECT_EQ(two->end_reason(), Reason::kCheckpointChanged);
  EXPECT_EQ(Look().devices.at(0).reserved_bytes, 0u);
  const Held again = Acquire("a");  // a failure is not remembered against the checkpoint
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(again->granted());
}

TEST_F(ManagerTest, PassesOnWhatTheCatalogRefusesWith) {
  EXPECT_EQ(Acquire("nowhere")->end_reason(), Reason::kCheckpointNotFound);
  catalog_.FailPlan("a", wire::MakeError(Reason::kCheckpointMalformed, "byte 8"));
  EXPECT_EQ(Acquire("a")->end_reason(), Reason::kCheckpointMalformed);
  EXPECT_EQ(Acquire(ModelSpec{.reference = "a", .device = "GPU-1"})->end_reason(),
            Reason::kDeviceUnavailable);
}

TEST_F(ManagerTest, EndsAWaitAtItsDeadlineAndLeavesTheOthers) {
  const Held hasty = Acquire("a", 1, std::chrono::seconds(1));
  const Held patient = Acquire("a", 2);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(hasty->end_reason(), Reason::kDeadlineExceeded);
  EXPECT_THAT(backend_.cancelled, IsEmpty());
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(patient->granted());
  EXPECT_FALSE(hasty->granted());
}

TEST_F(ManagerTest, ForgetsTheDeadlineOnceGranted) {
  const Held held = Acquire("a", 1, std::chrono::seconds(1));
  backend_.FinishLoad(manager_);
  EXPECT_EQ(clock_.pending_count(), 0u);
  clock_.Advance(std::chrono::seconds(5));
  EXPECT_THAT(held->ends, IsEmpty());
}

TEST_F(ManagerTest, TellsHoldersTheDigestAndLaterOnesWithTheirGrant) {
  const Held early = Acquire("a");
  backend_.FinishLoad(manager_);
  EXPECT_EQ(early->grants.at(0).digest, "");
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf("a");
  const std::string text = wire::DigestText(digests->content->weights);
  manager_.OnDigest(early->grants[0].residency_id, digests);
  EXPECT_THAT(early->digests, ElementsAre(text));
  EXPECT_EQ(Acquire("a")->grants.at(0).digest, text);
}

TEST_F(ManagerTest, GivesTheMemoryOnlyToTheSessionThatHoldsTheLease) {
  const Held held = Acquire("a", 5);
  backend_.FinishLoad(manager_);
  absl::StatusOr<LeaseMemory> memory = absl::UnknownError("");
  manager_.GetLeaseMemory(5, held.ticket, [&](auto m) { memory = std::move(m); });
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->memory->segments.size(), 1u);
  manager_.GetLeaseMemory(6, held.ticket, [&](auto m) { memory = std::move(m); });
  EXPECT_EQ(wire::GetReason(memory.status()), Reason::kResidencyNotFound);
  manager_.Release(held.ticket);
  manager_.GetLeaseMemory(5, held.ticket, [&](auto m) { memory = std::move(m); });
  EXPECT_EQ(wire::GetReason(memory.status()), Reason::kResidencyNotFound);
}

TEST_F(ManagerTest, ResumesALeaseOnlyOnTheSameResidencyAndGeneration) {
  const Held first = Acquire("a");
  backend_.FinishLoad(manager_);
  const Grant grant = first->grants.at(0);
  auto resume = [&](const std::string& id, uint64_t generation) {
    auto observer = std::make_shared<RecordingObserver>();
    AcquireRequest request{.spec = {.reference = "a"}, .resume = ResumeRequest{id, generation}};
    manager_.Acquire(request, observer);
    return observer;
  };
  EXPECT_TRUE(resume(grant.residency_id, grant.generation)->granted());
  EXPECT_EQ(resume(grant.residency_id, grant.generation + 1)->end_reason(),
            Reason::kResidencyNotFound);
  EXPECT_EQ(resume("nothing", 1)->end_reason(), Reason::kResidencyNotFound);
}

TEST_F(ManagerTest, WaitsForTheResidencyThatItNamesWhateverItsLoadConfiguration) {
  Acquire(ModelSpec{.reference = "a", .config = {.key_prefix = "ema."}});
  const ResidencyInfo loading = Look().residencies.at(0);
  const Held waiter = Acquire(AcquireRequest{
      .spec = {.reference = "a"}, .resume = ResumeRequest{loading.id, loading.generation}});
  EXPECT_FALSE(waiter->granted());
  backend_.FinishLoad(manager_);
  ASSERT_TRUE(waiter->granted());
  EXPECT_EQ(waiter->grants.at(0).residency_id, loading.id);
  EXPECT_EQ(Look().residencies.size(), 1u);
}

TEST_F(ManagerTest, DoesNotWaitForALoadThatIsCancelled) {
  const Held loader = Acquire("a");
  const ResidencyInfo loading = Look().residencies.at(0);
  manager_.Release(loader.ticket);
  const Held late = Acquire(AcquireRequest{
      .spec = {.reference = "a"}, .resume = ResumeRequest{loading.id, loading.generation}});
  EXPECT_EQ(late->end_reason(), Reason::kResidencyNotFound);
}

TEST_F(ManagerTest, PreloadsWithoutALeaseAndPinsIfAsked) {
  auto observer = std::make_shared<RecordingPreload>();
  manager_.Preload({.spec = {.reference = "a"}, .pin = true}, observer);
  backend_.FinishLoad(manager_);
  ASSERT_EQ(observer->results.size(), 1u);
  ASSERT_TRUE(observer->results[0].ok());
  EXPECT_EQ(observer->results[0]->state, State::kReady);
  EXPECT_TRUE(observer->results[0]->pinned);
  EXPECT_EQ(observer->results[0]->lease_count, 0u);
}

TEST_F(ManagerTest, GoesOnWithAPreloadThatDoesNotWait) {
  auto observer = std::make_shared<RecordingPreload>();
  const Ticket ticket = manager_.Preload({.spec = {.reference = "a"}, .no_wait = true}, observer);
  ASSERT_EQ(observer->results.size(), 1u);
  manager_.Release(ticket);
  const Held joined = Acquire("a");
  manager_.Release(joined.ticket);
  EXPECT_THAT(backend_.cancelled, IsEmpty());  // the operator still wants it
  backend_.FinishLoad(manager_);
  EXPECT_EQ(Look().residencies.at(0).state, State::kReady);
}

TEST_F(ManagerTest, CancelsAPreloadUnlessSomebodyElseWaits) {
  auto observer = std::make_shared<RecordingPreload>();
  const Ticket alone = manager_.Preload({.spec = {.reference = "a"}}, observer);
  manager_.Release(alone);
  EXPECT_EQ(backend_.cancelled.size(), 1u);
  const Ticket joined = manager_.Preload({.spec = {.reference = "b"}}, observer);
  const Held other = Acquire("b");
  manager_.Release(joined);
  EXPECT_EQ(backend_.cancelled.size(), 1u);
  EXPECT_THAT(observer->results, IsEmpty());
}

TEST_F(ManagerTest, KeepsWhatIsReadyWhenTheAgentDiesAndHandsItToTheNext) {
  const Held held = Acquire("a");
  backend_.FinishLoad(manager_);
  manager_.OnAgentDown("host", absl::UnavailableError("killed"));
  EXPECT_TRUE(Acquire("a")->granted());
  EXPECT_FALSE(Look().devices.at(0).available);
  backend_.adopted.clear();
  manager_.OnAgentUp("host", {.pid = 8});
  EXPECT_THAT(backend_.adopted, ElementsAre(held->grants[0].residency_id));
  EXPECT_EQ(Look().devices.at(0).agent_starts, 2u);
}

TEST_F(ManagerTest, LetsALoadWaitForAnAgentThatIsComingBackButNotForever) {
  manager_.OnAgentDown("host", absl::UnavailableError("killed"));
  const Held lucky = Acquire("a");
  EXPECT_THAT(backend_.loads, IsEmpty());
  manager_.OnAgentUp("host", {.pid = 8});
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(lucky->granted());
  manager_.OnAgentDown("host", absl::UnavailableError("killed again"));
  const Held unlucky = Acquire("b");
  clock_.Advance(std::chrono::seconds(10));
  EXPECT_EQ(unlucky->end_reason(), Reason::kDeviceUnavailable);
  EXPECT_THAT(std::string(unlucky->ends[0].message()), HasSubstr("killed again"));
}

TEST_F(ManagerTest, GivesTheAgentItsWholeTimeInEachOutage) {
  manager_.OnAgentDown("host", absl::UnavailableError("killed"));
  clock_.Advance(std::chrono::seconds(4));
  manager_.OnAgentUp("host", {.pid = 8});
  manager_.OnAgentDown("host", absl::UnavailableError("killed again"));
  const Held patient = Acquire("a");
  clock_.Advance(std::chrono::seconds(4));  // the first outage would be over its time by now
  EXPECT_THAT(patient->ends, IsEmpty());
  manager_.OnAgentUp("host", {.pid = 9});
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(patient->granted());
}

TEST_F(ManagerTest, AdoptsWhatAnAgentKeptAndGrantsItWithoutLoading) {
  ResidencyRecord record{.id = "feed", .device = "host", .generation = 41};
  record.sources.push_back({.content_key = (*catalog_.Resolve("a"))->Key(),
                            .format = "safetensors",
                            .references = {"a"}});
  manager_.OnInventory(record, backend_.Memory("feed", *MakePlan(4 * kUnit)), nullptr);
  const Held held = Acquire("a");
  ASSERT_TRUE(held->granted());
  EXPECT_EQ(held->grants[0].residency_id, "feed");
  EXPECT_EQ(Look().devices.at(0).resident_bytes, 4 * kUnit);
  catalog_.Put("small", 2);
  const Held other = Acquire("small");
  backend_.FinishLoad(manager_);
  EXPECT_GT(other->grants.at(0).generation, 41u);
}

TEST_F(ManagerTest, ReleasesAnInventoryItemThatIsASecondCopy) {
  MakeIdle("a");
  ResidencyRecord record{.id = "feed", .device = "host"};
  record.sources.push_back({.content_key = (*catalog_.Resolve("a"))->Key(), .references = {"a"}});
  manager_.OnInventory(record, backend_.Memory("feed", *MakePlan(4 * kUnit)), nullptr);
  EXPECT_THAT(backend_.released, ElementsAre("feed"));
}

TEST_F(ManagerTest, StopsByRefusingCancellingAndAskingHoldersToLetGo) {
  const Held holder = Acquire("a");
  backend_.FinishLoad(manager_);
  const Held waiting = Acquire("b");
  manager_.BeginShutdown();
  EXPECT_EQ(waiting->end_reason(), Reason::kDraining);
  EXPECT_EQ(backend_.cancelled.size(), 1u);
  EXPECT_EQ(holder->drains.size(), 1u);
  EXPECT_THAT(holder->ends, IsEmpty());
  EXPECT_EQ(Acquire("a")->end_reason(), Reason::kDraining);
}

TEST_F(ManagerTest, TellsNothingAfterRelease) {
  const Held held = Acquire("a");
  const size_t told = held->progresses.size();
  manager_.Release(held.ticket);
  manager_.Release(held.ticket);
  backend_.FailLoad(manager_, absl::CancelledError());
  EXPECT_EQ(held->progresses.size(), told);
  EXPECT_THAT(held->ends, IsEmpty());
}

TEST_F(ManagerTest, WritesDownTheLifeOfAResidency) {
  const std::string a = MakeIdle("a");
  ASSERT_TRUE(Evict(a).ok());
  EXPECT_THAT(EventTypes(), ElementsAre("AGENT_STARTED", "RESIDENCY_CREATED", "LOAD_STARTED",
                                        "RESIDENCY_READY", "LEASE_GRANTED", "LEASE_ENDED",
                                        "RESIDENCY_DRAINING", "RESIDENCY_EVICTED"));
}

TEST_F(ManagerTest, TellsTheAgentWhatChangedWhileItLoaded) {
  const Held held = Acquire("a");
  AcquireRequest second = Request({.reference = "a#2"}, 2);
  second.keep_alive = std::chrono::seconds(7);
  const Held other = Acquire(std::move(second));
  backend_.FinishLoad(manager_);
  const ResidencyRecord& record = backend_.records.at(held->grants.at(0).residency_id);
  EXPECT_THAT(record.sources.at(0).references, ElementsAre("a", "a#2"));
  EXPECT_EQ(record.keep_alive, std::chrono::seconds(7));
}

TEST_F(ManagerTest, LoadsOnceWhatWasBeingReadWhenTheAgentWent) {
  catalog_.PutContent("a", 4, "weights", /*sampled=*/false);
  catalog_.PutContent("b", 4, "others", /*sampled=*/false);
  const std::string a = MakeIdle("a");
  const Held held = Acquire("b");
  ASSERT_EQ(backend_.readings.size(), 1u);
  const std::string b = std::exchange(backend_.readings, {}).at(0).record.id;
  const absl::Status why = wire::MakeError(Reason::kDeviceUnavailable, "died");
  manager_.OnIdentified(b, why);
  manager_.OnAgentDown("host", why);
  // Nothing is left to compare it with.
  manager_.Evict({.selector = a, .drain = true}, [](const auto&) {});
  backend_.FinishReleases(manager_);
  manager_.OnAgentUp("host", {.pid = 8});
  EXPECT_TRUE(backend_.readings.empty());
  ASSERT_EQ(backend_.loads.size(), 1u);
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(held->granted());
}

}  // namespace
}  // namespace modeld::residency
