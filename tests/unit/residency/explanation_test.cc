// `modelctl why`, in words.

#include <gmock/gmock.h>

#include "absl/strings/str_join.h"
#include "manager_fixture.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class ExplanationTest : public ManagerTest {
 protected:
  std::string Why(const std::string& selector) {
    std::string words;
    manager_.Explain(selector, [&](const absl::StatusOr<Explanation>& explanation) {
      explanation_ = explanation;
      words = explanation.ok() ? absl::StrJoin(explanation->sentences, " ")
                               : std::string(explanation.status().message());
    });
    return words;
  }

  absl::StatusOr<Explanation> explanation_ = absl::UnknownError("not asked");
};

TEST_F(ExplanationTest, NamesWhoHoldsIt) {
  Hold("a", 4);
  EXPECT_THAT(Why("a"), HasSubstr("held by pid 104 (worker)"));
}

TEST_F(ExplanationTest, SaysWhoWouldGoBeforeIt) {
  const std::string first = MakeIdle("a");
  clock_.Advance(std::chrono::minutes(3));
  MakeIdle("b");
  EXPECT_THAT(Why("a"), HasSubstr("the first to go"));
  EXPECT_THAT(Why("b"), HasSubstr("1 would go before it, a first"));
  ASSERT_THAT(explanation_->eviction_order, SizeIs(2));
  EXPECT_EQ(explanation_->eviction_order[0].residency_id, first);
  EXPECT_EQ(explanation_->eviction_order[0].freed_bytes, 4 * kUnit);
}

TEST_F(ExplanationTest, SaysForWhomItWasEvicted) {
  const std::string id = MakeIdle("big");
  const Held other = Acquire("a");
  backend_.FinishReleases(manager_);
  EXPECT_THAT(Why("big"), HasSubstr("another model needed the room: made room for a"));
  EXPECT_THAT(Why(id.substr(0, 6)), HasSubstr("freed 16777216 bytes"));
}

TEST_F(ExplanationTest, SaysWhyALoadFailed) {
  Acquire("a");
  backend_.FailLoad(manager_, wire::MakeError(wire::Reason::kReadFailed, "the disk is broken"));
  EXPECT_THAT(Why("a"), HasSubstr("the disk is broken"));
}

TEST_F(ExplanationTest, LeavesLeasesOutOfTheHistory) {
  MakeIdle("a");
  Why("a");
  std::vector<EventType> types;
  for (const Event& event : explanation_->events) types.push_back(event.type);
  EXPECT_THAT(types, ElementsAre(EventType::kResidencyCreated, EventType::kLoadStarted,
                                 EventType::kResidencyReady));
}

TEST_F(ExplanationTest, KnowsNothingOfWhatNeverWas) {
  catalog_.Put("never", 1);
  EXPECT_THAT(Why("never"), HasSubstr("nothing resident is called"));
}

TEST_F(ExplanationTest, RemembersWhatEndedWithAnEarlierModeld) {
  Event ready;
  ready.type = EventType::kResidencyReady;
  ready.residency_id = "00000000000000cc";
  ready.reference = "old";
  ready.device = "host";
  Manager next({.catalog = &catalog_,
                .resolve_executor = &executor_,
                .plan_executor = &executor_,
                .clock = &clock_,
                .timer = &clock_});
  next.AddDevice("host", kCapacity, &backend_);
  next.Restore({.aliases = {}, .pins = {}, .events = {ready}});
  next.Explain("old", [](const absl::StatusOr<Explanation>& explanation) {
    ASSERT_TRUE(explanation.ok());
    EXPECT_THAT(absl::StrJoin(explanation->sentences, " "),
                HasSubstr("ended with a modeld before this one"));
  });
}

}  // namespace
}  // namespace modeld::residency
