#include "residency/policy.h"

#include <gtest/gtest.h>

namespace modeld::residency {
namespace {

base::TimePoint At(int seconds) { return base::TimePoint(std::chrono::seconds(seconds)); }

using Ids = std::vector<std::string>;

Ids OrderOf(const std::vector<Candidate>& candidates, base::TimePoint now = At(100)) {
  Ids ids;
  for (const Candidate& candidate : EvictionOrder(candidates, now)) ids.push_back(candidate.id);
  return ids;
}

TEST(Policy, LetsThoseGoFirstThatHaveBeenIdleForLongest) {
  EXPECT_EQ(OrderOf({{"a", 0, false, At(3)}, {"b", 0, false, At(1)}, {"c", 0, false, At(2)}}),
            (Ids{"b", "c", "a"}));
}

TEST(Policy, NeverChoosesTheLeasedOrThePinned) {
  EXPECT_EQ(OrderOf({{"a", 1, false, At(1)}, {"b", 0, true, At(2)}, {"c", 0, false, At(3)}}),
            Ids{"c"});
  EXPECT_EQ(OrderOf({{"a", 1, false, At(1)}, {"b", 0, true, At(2)}}), Ids{});
  EXPECT_EQ(OrderOf({}), Ids{});
}

TEST(Policy, AnswersTheSameWhateverTheOrderOfTheSnapshot) {
  const Ids both = {"a", "b"};
  EXPECT_EQ(OrderOf({{"b", 0, false, At(1)}, {"a", 0, false, At(1)}}), both);
  EXPECT_EQ(OrderOf({{"a", 0, false, At(1)}, {"b", 0, false, At(1)}}), both);
}

TEST(Policy, SparesWhatIsProtectedUntilItsTimeIsOver) {
  const std::vector<Candidate> candidates = {{"old", 0, false, At(1), At(50)},
                                             {"new", 0, false, At(2)},
                                             {"newest", 0, false, At(3), At(40)}};
  EXPECT_EQ(OrderOf(candidates, At(39)), (Ids{"new", "newest", "old"}));
  EXPECT_EQ(OrderOf(candidates, At(50)), (Ids{"old", "new", "newest"}));
}

}  // namespace
}  // namespace modeld::residency
