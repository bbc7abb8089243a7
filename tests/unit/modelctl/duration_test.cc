#include "modelctl/duration.h"

#include <gtest/gtest.h>

namespace modeld::modelctl {
namespace {

using namespace std::chrono_literals;

TEST(ParseDuration, TakesNumbersWithUnits) {
  EXPECT_EQ(*ParseDuration("500ms"), 500ms);
  EXPECT_EQ(*ParseDuration("10s"), 10s);
  EXPECT_EQ(*ParseDuration("1.5s"), 1500ms);
  EXPECT_EQ(*ParseDuration("2m"), 2min);
  EXPECT_EQ(*ParseDuration("1h30m"), 90min);
}

TEST(ParseDuration, RefusesWhatIsNotATime) {
  for (const char* text :
       {"", "10", "s", "ten seconds", "0", "0s", "-5s", "inf", "-inf", "99999999h", "10s "}) {
    EXPECT_EQ(ParseDuration(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ParseKeepAlive, TakesZeroAndForeverToo) {
  EXPECT_EQ(*ParseKeepAlive("10m"), 10min);
  for (const char* zero : {"0", "0s", "0ms"}) EXPECT_EQ(*ParseKeepAlive(zero), 0ns) << zero;
  EXPECT_LT(*ParseKeepAlive("forever"), 0ns);
  for (const char* text : {"", "10", "-1s", "inf", "Forever"}) {
    EXPECT_EQ(ParseKeepAlive(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(KeepAliveText, IsWhatOneWouldType) {
  for (const char* text : {"10m", "0s", "forever"}) {
    EXPECT_EQ(KeepAliveText(*ParseKeepAlive(text)), text);
  }
}

TEST(DurationText, IsWhatOneWouldType) {
  EXPECT_EQ(DurationText(500ms), "500ms");
  EXPECT_EQ(DurationText(1500ms), "1500ms");
  EXPECT_EQ(DurationText(30s), "30s");
  EXPECT_EQ(DurationText(90s), "90s");
  EXPECT_EQ(DurationText(2min), "2m");
  EXPECT_EQ(*ParseDuration(DurationText(1234567ns)), 1234567ns);
}

}  // namespace
}  // namespace modeld::modelctl
