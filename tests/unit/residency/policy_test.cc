#include "residency/policy.h"

#include <gtest/gtest.h>

namespace modeld::residency {
namespace {

base::TimePoint At(int seconds) { return base::TimePoint(std::chrono::seconds(seconds)); }

TEST(Policy, ChoosesTheOneThatHasBeenIdleForLongest) {
  EXPECT_EQ(ChooseVictim({{"a", 0, false, At(3)}, {"b", 0, false, At(1)}, {"c", 0, false, At(2)}},
                         At(100)),
            "b");
}

TEST(Policy, NeverChoosesTheLeasedOrThePinned) {
  EXPECT_EQ(ChooseVictim({{"a", 1, false, At(1)}, {"b", 0, true, At(2)}, {"c", 0, false, At(3)}},
                         At(100)),
            "c");
  EXPECT_EQ(ChooseVictim({{"a", 1, false, At(1)}, {"b", 0, true, At(2)}}, At(100)), std::nullopt);
  EXPECT_EQ(ChooseVictim({}, At(100)), std::nullopt);
}

TEST(Policy, AnswersTheSameWhateverTheOrderOfTheSnapshot) {
  EXPECT_EQ(ChooseVictim({{"b", 0, false, At(1)}, {"a", 0, false, At(1)}}, At(100)), "a");
  EXPECT_EQ(ChooseVictim({{"a", 0, false, At(1)}, {"b", 0, false, At(1)}}, At(100)), "a");
}

TEST(Policy, SparesWhatIsProtectedUntilItsTimeIsOver) {
  const std::vector<Candidate> candidates = {{"old", 0, false, At(1), At(50)},
                                             {"new", 0, false, At(2)}};
  EXPECT_EQ(ChooseVictim(candidates, At(49)), "new");
  EXPECT_EQ(ChooseVictim(candidates, At(50)), "old");
  EXPECT_EQ(ChooseVictim({candidates[0]}, At(49)), std::nullopt);
}

TEST(Policy, OrdersThoseThatCanGoByWhenTheyWould) {
  std::vector<std::string> ids;
  for (const Candidate& candidate : EvictionOrder({{"held", 1, false, At(0)},
                                                   {"pinned", 0, true, At(0)},
                                                   {"protected", 0, false, At(1), At(50)},
                                                   {"young", 0, false, At(3)},
                                                   {"old", 0, false, At(2)}},
                                                  At(10))) {
    ids.push_back(candidate.id);
  }
  EXPECT_EQ(ids, (std::vector<std::string>{"old", "young", "protected"}));
}

}  // namespace
}  // namespace modeld::residency
