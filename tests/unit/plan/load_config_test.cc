#include "plan/load_config.h"

#include <gtest/gtest.h>

#include <set>

namespace modeld::plan {
namespace {

using wire::DType;

TEST(Glob, StarsAndQuestionMarks) {
  EXPECT_TRUE(GlobMatches("*", ""));
  EXPECT_TRUE(GlobMatches("*.weight", "layer.0.weight"));
  EXPECT_TRUE(GlobMatches("layer.?.*", "layer.0.weight"));
  EXPECT_TRUE(GlobMatches("a*b*c", "a-b-b-c"));
  EXPECT_FALSE(GlobMatches("a*b*c", "a-c-b"));
  EXPECT_FALSE(GlobMatches("layer.?", "layer.10"));
  EXPECT_FALSE(GlobMatches("", "a"));
  EXPECT_TRUE(GlobMatches("[x]", "[x]"));
}

TEST(Glob, TakesNoLongerForStarsThatDoNotMatch) {
  std::string pattern;
  for (int i = 0; i < 60; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatches(pattern + "b", std::string(10'000, 'a')));
}

TEST(LoadConfig, TakesThePrefixOffBeforeTheGlobsLook) {
  const LoadConfig config{.include = {"layer.*"}, .exclude = {"*.bias"}, .key_prefix = "ema."};
  EXPECT_EQ(config.NameOf("ema.layer.0.weight"), "layer.0.weight");
  EXPECT_FALSE(config.NameOf("ema.layer.0.bias"));
  EXPECT_FALSE(config.NameOf("ema.head"));
  EXPECT_FALSE(config.NameOf("layer.0.weight"));
}

TEST(LoadConfig, CastsFloatingPointAndNothingElse) {
  const LoadConfig config{.cast = DType::kBF16};
  for (const DType type : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16}) {
    EXPECT_EQ(config.TypeOf(type), DType::kBF16);
  }
  EXPECT_EQ(config.TypeOf(DType::kF8E4M3), DType::kF8E4M3);
  EXPECT_EQ(config.TypeOf(DType::kI64), DType::kI64);
  EXPECT_EQ(LoadConfig().TypeOf(DType::kF32), DType::kF32);
}

TEST(LoadConfig, EqualOnesHaveEqualKeysAndOthersDoNot) {
  EXPECT_EQ(LoadConfig().Key(), "");
  EXPECT_EQ((LoadConfig{.include = {"a", "b"}}.Key()),
            (LoadConfig{.include = {"b", "a", "b"}}.Key()));
  const std::set<std::string> keys = {
      LoadConfig{.cast = DType::kF16}.Key(), LoadConfig{.cast = DType::kF32}.Key(),
      LoadConfig{.key_prefix = "F16"}.Key(), LoadConfig{.include = {"a"}}.Key(),
      LoadConfig{.exclude = {"a"}}.Key(),    LoadConfig{.include = {"a", "b"}}.Key(),
      LoadConfig{.include = {"a1:b"}}.Key(), LoadConfig{.include = {"a;1"}}.Key(),
  };
  EXPECT_EQ(keys.size(), 8u);
}

}  // namespace
}  // namespace modeld::plan
