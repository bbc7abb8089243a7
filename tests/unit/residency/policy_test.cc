#include "residency/policy.h"

#include <gtest/gtest.h>

namespace modeld::residency {
namespace {

base::TimePoint At(int seconds) { return base::TimePoint(std::chrono::seconds(seconds)); }

TEST(Policy, ChoosesTheOneThatHasBeenIdleForLongest) {
  EXPECT_EQ(ChooseVictim({{"a", 0, false, At(3)}, {"b", 0, false, At(1)}, {"c", 0, false, At(2)}}),
            "b");
}

TEST(Policy, NeverChoosesTheLeasedOrThePinned) {
  EXPECT_EQ(ChooseVictim({{"a", 1, false, At(1)}, {"b", 0, true, At(2)}, {"c", 0, false, At(3)}}),
            "c");
  EXPECT_EQ(ChooseVictim({{"a", 1, false, At(1)}, {"b", 0, true, At(2)}}), std::nullopt);
  EXPECT_EQ(ChooseVictim({}), std::nullopt);
}

TEST(Policy, AnswersTheSameWhateverTheOrderOfTheSnapshot) {
  EXPECT_EQ(ChooseVictim({{"b", 0, false, At(1)}, {"a", 0, false, At(1)}}), "a");
  EXPECT_EQ(ChooseVictim({{"a", 0, false, At(1)}, {"b", 0, false, At(1)}}), "a");
}

}  // namespace
}  // namespace modeld::residency
