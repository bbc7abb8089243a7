// What shall stay, whether or not it is resident.

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "manager_fixture.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wire::Reason;

class PinTest : public ManagerTest {
 protected:
  // What is answered; UNKNOWN before.
  absl::StatusOr<ResidencyInfo> SetPinned(const std::string& selector, bool pinned) {
    absl::StatusOr<ResidencyInfo> answer = absl::UnknownError("not answered");
    manager_.SetPinned(selector, pinned, [&](auto result) { answer = std::move(result); });
    return answer;
  }
  // `reference of residency`
  std::vector<std::string> Pins() {
    std::vector<std::string> pins;
    for (const PinInfo& pin : Look().pins) {
      pins.push_back(absl::StrCat(pin.reference, " of ", pin.residency_id));
    }
    return pins;
  }
};

TEST_F(PinTest, OfWhatWentWhileItWasSavedIsTakenBack) {
  const std::string id = MakeIdle("a");
  state_.hold = true;
  absl::StatusOr<ResidencyInfo> pinned = absl::UnknownError("not answered");
  manager_.SetPinned(id, true, [&](auto result) { pinned = std::move(result); });
  ASSERT_TRUE(Evict(id).ok());
  state_.hold = false;
  state_.Finish();
  EXPECT_EQ(wire::GetReason(pinned.status()), Reason::kResidencyNotFound);
  ASSERT_THAT(state_.changes, SizeIs(2));
  EXPECT_TRUE(std::holds_alternative<RemovePin>(state_.changes.back()));
}

TEST_F(PinTest, OfWhatIsNotResidentWaitsForItUnlessItIsTakenBack) {
  const auto key = [this](const char* name) {
    return Key{(*catalog_.Resolve(name))->Key(), "host", ""};
  };
  manager_.Restore({.pins = {{key("a"), "a"}, {key("b"), "b"}}});
  const auto answer = SetPinned("a", false);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(answer->references, ElementsAre("a"));
  EXPECT_EQ(answer->id, "");
  ASSERT_THAT(state_.changes, SizeIs(1));
  EXPECT_EQ(std::get<RemovePin>(state_.changes.front()).key, key("a"));
  EXPECT_FALSE(InfoOf(MakeIdle("a")).pinned);
  EXPECT_TRUE(InfoOf(MakeIdle("b")).pinned);
  catalog_.Put("unpinned", 4);
  for (const char* reference : {"unpinned", "nowhere"}) {
    EXPECT_EQ(wire::GetReason(SetPinned(reference, false).status()), Reason::kResidencyNotFound)
        << reference;
  }
}

TEST_F(PinTest, OfAnAliasThatNamesNothingResidentIsTakenBack) {
  manager_.Restore(
      {.aliases = {{"prod", {.name = "prod", .spec = {.reference = "a"}, .content_key = "k"}}},
       .pins = {{{"k", "host", ""}, "a"}}});
  const auto answer = SetPinned("prod", false);
  EXPECT_TRUE(answer.ok()) << answer.status();
  ASSERT_THAT(state_.changes, SizeIs(1));
  EXPECT_TRUE(std::holds_alternative<RemovePin>(state_.changes.back()));
}

TEST_F(PinTest, OfAPrivateCopyIsItsOwn) {
  const std::string id = MakeIdle("b");
  ASSERT_TRUE(SetPinned(id, true).ok());
  const Held own = Acquire(ModelSpec{.reference = "b", .private_copy = true});
  backend_.FinishLoad(manager_);
  const std::string copy = own->grants.at(0).residency_id;
  EXPECT_FALSE(InfoOf(copy).pinned);
  ASSERT_TRUE(SetPinned(copy, true).ok());
  EXPECT_THAT(Pins(), ElementsAre("b of " + id, "b of " + copy));
  ASSERT_TRUE(SetPinned(copy, false).ok());
  EXPECT_TRUE(InfoOf(id).pinned);
  EXPECT_THAT(Pins(), ElementsAre("b of " + id));
  EXPECT_THAT(state_.changes, SizeIs(1));
}

TEST_F(PinTest, IsListedUnderTheNameThatItWasMadeUnderWhetherOrNotThatIsResident) {
  manager_.Restore({.pins = {{{"gone", "host", ""}, "b"}}});
  const std::string id = MakeIdle("a");
  ASSERT_TRUE(SetPinned(id, true).ok());
  EXPECT_EQ(std::get<SetPin>(state_.changes.back()).reference, "a");
  EXPECT_THAT(Pins(), ElementsAre("a of " + id, "b of "));
}

TEST_F(PinTest, OfWhatWasReplacedIsTakenBackByItsName) {
  manager_.Restore({.pins = {{{"what a was", "host", ""}, "a"}}});
  EXPECT_EQ(SetPinned("a", false)->device, "host");
  EXPECT_THAT(Pins(), IsEmpty());
  EXPECT_EQ(std::get<RemovePin>(state_.changes.back()).key.content, "what a was");
}

TEST_F(PinTest, OfWhatWasReplacedGoesWithThatOfWhatHasTheNameNow) {
  manager_.Restore({.pins = {{{"what a was", "host", ""}, "a"}, {{"other", "host", ""}, "b"}}});
  const std::string id = MakeIdle("a");
  ASSERT_TRUE(SetPinned(id, true).ok());
  EXPECT_EQ(SetPinned(id, false)->pinned, false);
  EXPECT_THAT(Pins(), ElementsAre("a of ", "b of ")) << "the id is that of one residency";
  EXPECT_EQ(SetPinned("a", false)->pinned, false);
  EXPECT_THAT(Pins(), ElementsAre("b of "));
}

TEST_F(PinTest, IsToldToAnAgentThatHasItFromBefore) {
  manager_.Restore({.pins = {{{"k", "host", ""}, "r"}}});
  ResidencyRecord record;
  record.id = "00000000000000aa";
  record.sources = {{.content_key = "k", .format = "safetensors", .references = {"r"}}};
  record.device = "host";
  manager_.OnInventory(record, backend_.Memory(record.id, *MakePlan(4 * kUnit)), nullptr);
  EXPECT_TRUE(backend_.records.at(record.id).pinned);
}

TEST_F(PinTest, IsWhatBecameDurableLast) {
  const std::string id = MakeIdle("a");
  manager_.SetPinned(id, true, [](const auto&) {});
  state_.hold = true;
  for (int i = 0; i < 2; ++i) manager_.SetPinned(id, false, [](const auto&) {});
  state_.FinishFirst();
  const auto preload = std::make_shared<RecordingPreload>();
  manager_.Preload({.spec = {.reference = "a"}, .pin = true}, preload);
  state_.FinishFirst();
  state_.FinishFirst();
  EXPECT_TRUE(std::holds_alternative<SetPin>(state_.changes.back()));
  EXPECT_TRUE(InfoOf(id).pinned);
}

}  // namespace
}  // namespace modeld::residency
