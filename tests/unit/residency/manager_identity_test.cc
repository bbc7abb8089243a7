// Equal content is in memory once, whatever it is called.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wire::Reason;

constexpr uint64_t kSegment = FakeCatalog::kUnit;

class ManagerIdentityTest : public ::testing::Test {
 protected:
  ManagerIdentityTest() : manager_({&catalog_, &executor_, &executor_, &clock_, &clock_}) {
    manager_.AddDevice("host", 100 * kSegment, &backend_);
    manager_.OnAgentUp("host", {.pid = 7, .export_kind = "memfd", .page_size_bytes = 4096});
    catalog_.Put("a", 4);
    catalog_.PutContent("copy of a", 4, "a@0");
    catalog_.PutContent("like a", 4, "another", /*sampled=*/false);
  }

  struct Held {
    Ticket ticket = 0;
    std::shared_ptr<RecordingObserver> observer = std::make_shared<RecordingObserver>();
    RecordingObserver* operator->() const { return observer.get(); }
  };

  Held Acquire(const ModelSpec& spec) {
    Held held;
    AcquireRequest request;
    request.spec = spec;
    held.ticket = manager_.Acquire(std::move(request), held.observer);
    return held;
  }
  Held Acquire(const std::string& reference) { return Acquire(ModelSpec{.reference = reference}); }

  // Loads it, and its digest becomes known.
  Held Load(const std::string& reference) {
    Held held = Acquire(reference);
    backend_.FinishLoad(manager_);
    TellDigest(held, catalog_.ContentOf(reference));
    return held;
  }

  void TellDigest(const Held& held, const std::string& content) {
    auto digests = std::make_shared<ResidentDigests>();
    digests->content = DigestsOf(content);
    manager_.OnDigest(held->grants.at(0).residency_id, digests);
  }

  Snapshot Look() {
    Snapshot snapshot;
    manager_.GetSnapshot(SnapshotParts::All(), [&](Snapshot s) { snapshot = std::move(s); });
    return snapshot;
  }

  bool HasEvent(EventType type) {
    const auto events = manager_.events().History(1000);
    return std::any_of(events.begin(), events.end(),
                       [&](const Event& event) { return event.type == type; });
  }

  base::ManualClock clock_;
  base::InlineExecutor executor_;
  FakeCatalog catalog_;
  FakeBackend backend_;
  Manager manager_;
};

TEST_F(ManagerIdentityTest, JoinsWhatHoldsTheSameOnceTheFilesAreRead) {
  const Held a = Load("a");
  const Held copy = Acquire("copy of a");
  EXPECT_THAT(backend_.loads, IsEmpty());
  ASSERT_THAT(backend_.readings, SizeIs(1));
  EXPECT_EQ(Look().residencies.at(1).state, State::kIdentifying);
  EXPECT_EQ(copy->progresses.back().phase, Phase::kIdentifying);
  backend_.FinishReading(manager_, catalog_);
  ASSERT_TRUE(copy->granted());
  EXPECT_EQ(copy->grants[0].residency_id, a->grants[0].residency_id);
  ASSERT_THAT(Look().residencies, SizeIs(1));
  EXPECT_THAT(Look().residencies[0].references, ElementsAre("a", "copy of a"));
  EXPECT_EQ(Look().devices.at(0).resident_bytes, 4 * kSegment);
  EXPECT_TRUE(HasEvent(EventType::kResidencyJoined));
  // The agent knows the second name, too.
  EXPECT_THAT(backend_.records.at(a->grants[0].residency_id).sources, SizeIs(2));
}

TEST_F(ManagerIdentityTest, ReadsNothingWhenTheDigestIsKnownFromBefore) {
  const Held a = Load("a");
  catalog_.Cache("copy of a");
  const Held copy = Acquire("copy of a");
  EXPECT_THAT(backend_.readings, IsEmpty());
  ASSERT_TRUE(copy->granted());
  EXPECT_EQ(copy->grants[0].residency_id, a->grants[0].residency_id);
}

TEST_F(ManagerIdentityTest, JoinsAtOnceTheSecondTime) {
  Load("a");
  Acquire("copy of a");
  backend_.FinishReading(manager_, catalog_);
  EXPECT_TRUE(Acquire("copy of a")->granted());
  EXPECT_THAT(backend_.readings, IsEmpty());
}

TEST_F(ManagerIdentityTest, LoadsWhatOnlyLooksTheSame) {
  const Held a = Load("a");
  const Held other = Acquire("like a");
  EXPECT_THAT(backend_.loads, IsEmpty());
  backend_.FinishReading(manager_, catalog_);
  ASSERT_THAT(backend_.loads, SizeIs(1));
  backend_.FinishLoad(manager_);
  ASSERT_TRUE(other->granted());
  EXPECT_NE(other->grants[0].residency_id, a->grants[0].residency_id);
}

TEST_F(ManagerIdentityTest, LoadsAtOnceWhatASampleTellsApart) {
  Load("a");
  catalog_.Put("b", 4);
  Acquire("b");
  EXPECT_THAT(backend_.readings, IsEmpty());
  EXPECT_THAT(backend_.loads, SizeIs(1));
}

TEST_F(ManagerIdentityTest, WaitsForTheDigestOfWhatIsStillLoading) {
  const Held a = Acquire("a");
  const Held copy = Acquire("copy of a");
  backend_.FinishReading(manager_, catalog_);
  EXPECT_FALSE(copy->granted());
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(a->granted());
  EXPECT_FALSE(copy->granted());  // nobody knows yet what `a` holds
  TellDigest(a, "a@0");
  ASSERT_TRUE(copy->granted());
  EXPECT_EQ(copy->grants[0].residency_id, a->grants[0].residency_id);
  EXPECT_THAT(backend_.loads, IsEmpty());
}

TEST_F(ManagerIdentityTest, LoadsWhenWhatItWaitsForFails) {
  const Held a = Acquire("a");
  const Held copy = Acquire("copy of a");
  backend_.FailLoad(manager_, absl::UnavailableError("the disk is gone"));
  EXPECT_THAT(a->ends, SizeIs(1));
  EXPECT_THAT(backend_.loads, IsEmpty());  // its files are still being read
  backend_.FinishReading(manager_, catalog_);
  ASSERT_THAT(backend_.loads, SizeIs(1));
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(copy->granted());
}

TEST_F(ManagerIdentityTest, ManyNamesOfOneContentAreOneLoad) {
  std::vector<Held> held = {Acquire("a")};
  for (int i = 0; i < 8; ++i) {
    const std::string name = absl::StrCat("copy ", i);
    catalog_.PutContent(name, 4, "a@0");
    held.push_back(Acquire(name));
  }
  EXPECT_THAT(backend_.loads, SizeIs(1));
  while (!backend_.readings.empty()) backend_.FinishReading(manager_, catalog_);
  backend_.FinishLoad(manager_);
  TellDigest(held[0], "a@0");
  for (const Held& h : held) {
    ASSERT_TRUE(h->granted());
    EXPECT_EQ(h->grants[0].residency_id, held[0]->grants[0].residency_id);
  }
  EXPECT_THAT(Look().residencies, SizeIs(1));
  EXPECT_EQ(Look().residencies[0].lease_count, 9u);
}

TEST_F(ManagerIdentityTest, WhatIsComparedIsNotEvicted) {
  const Held a = Load("a");
  manager_.Release(a.ticket);
  Acquire("copy of a");
  EXPECT_EQ(Look().devices.at(0).evictable_bytes, 0u);
  backend_.FinishReading(manager_, catalog_);
  EXPECT_EQ(Look().residencies.at(0).lease_count, 1u);
}

TEST_F(ManagerIdentityTest, GivingUpEndsTheReading) {
  const Held a = Load("a");
  const Held copy = Acquire("copy of a");
  manager_.Release(copy.ticket);
  EXPECT_THAT(backend_.cancelled, SizeIs(1));
  EXPECT_THAT(Look().residencies, SizeIs(1));
  // Too late an answer changes nothing.
  backend_.FinishReading(manager_, catalog_);
  EXPECT_THAT(Look().residencies, SizeIs(1));
  manager_.Release(a.ticket);
  EXPECT_EQ(Look().devices.at(0).evictable_bytes, 4 * kSegment);
}

TEST_F(ManagerIdentityTest, CopiesOnPurposeStayApart) {
  Load("a");
  const Held named = Acquire(ModelSpec{.reference = "copy of a", .instance = "blue"});
  const Held own = Acquire(ModelSpec{.reference = "copy of a", .private_copy = true});
  EXPECT_THAT(backend_.readings, IsEmpty());
  EXPECT_THAT(backend_.loads, SizeIs(2));
}

TEST_F(ManagerIdentityTest, AnUnreadableFileFailsItsOwnWait) {
  const Held a = Load("a");
  const Held copy = Acquire("copy of a");
  manager_.OnIdentified(backend_.readings.at(0).record.id,
                        wire::MakeError(Reason::kCheckpointChanged, "it changed"));
  EXPECT_EQ(copy->end_reason(), Reason::kCheckpointChanged);
  EXPECT_THAT(a->ends, IsEmpty());
}

TEST_F(ManagerIdentityTest, AReadingOutlivesARestartOfTheAgent) {
  Load("a");
  const Held copy = Acquire("copy of a");
  manager_.OnIdentified(backend_.readings.at(0).record.id,
                        wire::MakeError(Reason::kDeviceUnavailable, "the agent died"));
  EXPECT_THAT(copy->ends, IsEmpty());
  backend_.readings.clear();
  manager_.OnAgentUp("host", {.pid = 8});
  backend_.FinishReading(manager_, catalog_);
  EXPECT_TRUE(copy->granted());
}

TEST_F(ManagerIdentityTest, AReadingThatNobodyCanDoEndsTheWait) {
  Load("a");
  const Held copy = Acquire("copy of a");
  manager_.OnIdentified(backend_.readings.at(0).record.id,
                        wire::MakeError(Reason::kDeviceUnavailable, "the agent died"));
  clock_.Advance(std::chrono::seconds(10));
  EXPECT_EQ(copy->end_reason(), Reason::kDeviceUnavailable);
}

TEST_F(ManagerIdentityTest, ADigestThatNoAgentComputesEndsTheWait) {
  const Held a = Acquire("a");
  backend_.FinishLoad(manager_);
  const Held copy = Acquire("copy of a");
  backend_.FinishReading(manager_, catalog_);
  manager_.OnAgentDown("host", absl::UnavailableError("killed"));
  clock_.Advance(std::chrono::seconds(10));
  EXPECT_EQ(copy->end_reason(), Reason::kDeviceUnavailable);
  EXPECT_TRUE(a->granted());
  EXPECT_THAT(a->ends, IsEmpty());
}

TEST_F(ManagerIdentityTest, RemembersDigestsForEveryNameThatLedToThem) {
  Load("a");
  Acquire("copy of a");
  backend_.FinishReading(manager_, catalog_);
  EXPECT_THAT(catalog_.remembered, SizeIs(2));
  for (const auto& [key, digest] : catalog_.remembered) {
    EXPECT_EQ(digest, DigestsOf("a@0")->weights);
  }
}

// ---- by digest ----

TEST_F(ManagerIdentityTest, ADigestIsAReferenceToWhatIsResident) {
  const Held a = Load("a");
  const std::string digest = wire::DigestText(DigestsOf("a@0")->weights);
  const Held same = Acquire(digest);
  ASSERT_TRUE(same->granted());
  EXPECT_EQ(same->grants[0].residency_id, a->grants[0].residency_id);
  EXPECT_EQ(Acquire("sha256:" + std::string(64, '0'))->end_reason(), Reason::kResidencyNotFound);
  EXPECT_EQ(Acquire(ModelSpec{.reference = digest, .config = {.key_prefix = "x."}})->end_reason(),
            Reason::kFieldInvalid);
}

TEST_F(ManagerIdentityTest, AnExpectedDigestIsWaitedForAndThenHeldTo) {
  const std::string right = wire::DigestText(DigestsOf("a@0")->weights);
  const std::string wrong = "sha256:" + std::string(64, '0');
  const Held good = Acquire(ModelSpec{.reference = "a", .expected_digest = right});
  const Held bad = Acquire(ModelSpec{.reference = "a", .expected_digest = wrong});
  const Held any = Acquire("a");
  backend_.FinishLoad(manager_);
  EXPECT_TRUE(any->granted());
  EXPECT_FALSE(good->granted());
  TellDigest(any, "a@0");
  EXPECT_TRUE(good->granted());
  ASSERT_THAT(bad->ends, SizeIs(1));
  EXPECT_EQ(bad->end_reason(), Reason::kDigestMismatch);
  EXPECT_THAT(std::string(bad->ends[0].message()), HasSubstr(right));
  EXPECT_EQ(Acquire(ModelSpec{.reference = "a", .expected_digest = wrong})->end_reason(),
            Reason::kDigestMismatch);
}

TEST_F(ManagerIdentityTest, AKnownWrongDigestIsRefusedBeforeAnythingIsLoaded) {
  catalog_.Cache("a");
  const std::string wrong = "sha256:" + std::string(64, '0');
  const Held bad = Acquire(ModelSpec{.reference = "a", .expected_digest = wrong});
  EXPECT_EQ(bad->end_reason(), Reason::kDigestMismatch);
  EXPECT_THAT(backend_.loads, IsEmpty());
}

}  // namespace
}  // namespace modeld::residency
