#include "modelctl/progress_bar.h"

#include <gtest/gtest.h>

#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

using namespace std::chrono_literals;

constexpr RateMeter::TimePoint kStart{1h};
constexpr uint64_t kMiB = 1 << 20;

TEST(RateMeter, KnowsNothingFromOneTotal) {
  RateMeter meter;
  EXPECT_FALSE(meter.bytes_per_second());
  meter.Add(kStart, 5 * kMiB);
  EXPECT_FALSE(meter.bytes_per_second());
  EXPECT_FALSE(meter.TimeLeft(5 * kMiB, 10 * kMiB));
}

TEST(RateMeter, GivesASteadyRateAsItIs) {
  RateMeter meter;
  for (int i = 0; i <= 20; ++i) meter.Add(kStart + i * 100ms, i * 10 * kMiB);
  ASSERT_TRUE(meter.bytes_per_second());
  EXPECT_NEAR(*meter.bytes_per_second(), 100.0 * kMiB, 1.0);
  EXPECT_EQ(*meter.TimeLeft(200 * kMiB, 1000 * kMiB), 8s);
}

TEST(RateMeter, FollowsAChangeWithinSeconds) {
  RateMeter meter;
  meter.Add(kStart, 0);
  meter.Add(kStart + 1s, 100 * kMiB);
  uint64_t total = 100 * kMiB;
  for (int i = 1; i <= 10; ++i) meter.Add(kStart + 1s + i * 1s, total += 10 * kMiB);
  EXPECT_NEAR(*meter.bytes_per_second(), 10.0 * kMiB, 4.0 * kMiB);
}

TEST(RateMeter, StartsAnewWhenTheTotalFalls) {
  RateMeter meter;
  meter.Add(kStart, 0);
  meter.Add(kStart + 1s, 100 * kMiB);
  meter.Add(kStart + 2s, 0);
  EXPECT_FALSE(meter.bytes_per_second());
}

TEST(RateMeter, HasNoTimeLeftWhenNothingMoves) {
  RateMeter meter;
  meter.Add(kStart, 7);
  meter.Add(kStart + 1s, 7);
  EXPECT_FALSE(meter.TimeLeft(7, 100));
}

TEST(RateMeter, ToleratesTwoTotalsAtOneTime) {
  RateMeter meter;
  meter.Add(kStart, 0);
  meter.Add(kStart, 5);
  EXPECT_FALSE(meter.bytes_per_second());
}

TEST(Bar, IsFullOnlyWhenAllIsDone) {
  EXPECT_EQ(Bar(0, 100, 10), "[----------]   0%");
  EXPECT_EQ(Bar(50, 100, 10), "[#####-----]  50%");
  EXPECT_EQ(Bar(999999, 1000000, 10), "[#########-]  99%");
  EXPECT_EQ(Bar(100, 100, 10), "[##########] 100%");
  EXPECT_EQ(Bar(101, 100, 10), "[##########] 100%");
  EXPECT_EQ(Bar(0, 0, 10), "[##########] 100%");
  EXPECT_EQ(Bar(UINT64_MAX / 2, UINT64_MAX, 10), "[#####-----]  50%");
}

TEST(ClockText, ReadsLikeAClock) {
  EXPECT_EQ(ClockText(8s), "0:08");
  EXPECT_EQ(ClockText(754s), "12:34");
  EXPECT_EQ(ClockText(3723s), "1:02:03");
  EXPECT_EQ(ClockText(-1s), "0:00");
}

TEST(ProgressLine, SaysAllThatFits) {
  RateMeter meter;
  meter.Add(kStart, 0);
  meter.Add(kStart + 1s, 512 * kMiB);
  EXPECT_EQ(ProgressLine("m.safetensors", 512 * kMiB, 1024 * kMiB, meter, 120),
            "m.safetensors  [###############---------------]  50%  512.0 MiB of 1.0 GiB  512.0 "
            "MiB/s  ETA 0:01");
}

TEST(WordsLine, LosesTheLabelBeforeItsWords) {
  const std::string words = "waits for 4.0 GiB, 1.0 GiB free: held by pid 4711 (python, w/s/p/g/n)";
  EXPECT_EQ(WordsLine("m", words, 100), "m  " + words);
  EXPECT_EQ(WordsLine("models/backbone", words, words.size()), words);
  const std::string narrow = WordsLine("models/backbone", words, 60);
  EXPECT_TRUE(narrow.starts_with("waits for 4.0 GiB, 1.0 GiB")) << narrow;
  EXPECT_TRUE(narrow.ends_with("w/s/p/g/n)")) << narrow;
  for (size_t width = 1; width <= 130; ++width) {
    EXPECT_LE(DisplayWidth(WordsLine(std::string(200, 'x'), words, width)), width);
  }
}

TEST(ProgressLine, NeverGetsWiderThanTheTerminal) {
  RateMeter meter;
  meter.Add(kStart, 0);
  meter.Add(kStart + 1s, 512 * kMiB);
  const std::string label(200, 'x');
  for (size_t width = 1; width <= 130; ++width) {
    EXPECT_LE(DisplayWidth(ProgressLine(label, 512 * kMiB, 1024 * kMiB, meter, width)), width);
  }
}

}  // namespace
}  // namespace modeld::modelctl
