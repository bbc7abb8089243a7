#include <string>
#include <vector>

#include "closest_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modeld::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Closest(const std::string& name, const std::vector<std::string>& names) {
  return ClosestNames(name, names.size(), [&](size_t i) -> std::string_view { return names[i]; });
}

TEST(ClosestNames, FindsAMisspelling) {
  EXPECT_THAT(Closest("encoder.wieght", {"decoder.bias", "encoder.weight", "x"}),
              ElementsAre("encoder.weight"));
}

TEST(ClosestNames, FindsAPrefixThatIsMissingOrTooMuch) {
  EXPECT_THAT(Closest("encoder.weight", {"model.transformer.encoder.weight", "other"}),
              ElementsAre("model.transformer.encoder.weight"));
  EXPECT_THAT(Closest("module.encoder.weight", {"encoder.weight", "other"}),
              ElementsAre("encoder.weight"));
}

TEST(ClosestNames, GivesTheClosestThreeInOrder) {
  EXPECT_THAT(Closest("layer.12.w", {"layer.123456.w", "layer.99.w", "layer.1.w", "layer.13.w"}),
              ElementsAre("layer.1.w", "layer.13.w", "layer.99.w"));
}

TEST(ClosestNames, GivesNothingThatHasNothingToDoWithIt) {
  EXPECT_THAT(Closest("embedding", {"w", "conv1.bias", ""}), IsEmpty());
  EXPECT_THAT(Closest("embedding", {}), IsEmpty());
}

}  // namespace
}  // namespace modeld::client
