#include "app/quantity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace modeld::app {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST(Size, HasUnitsOfBothKinds) {
  EXPECT_EQ(ParseSize("0").value(), 0u);
  EXPECT_EQ(ParseSize("4096").value(), 4096u);
  EXPECT_EQ(ParseSize("7B").value(), 7u);
  EXPECT_EQ(ParseSize("12GiB").value(), uint64_t{12} << 30);
  EXPECT_EQ(ParseSize(" 12 GiB ").value(), uint64_t{12} << 30);
  EXPECT_EQ(ParseSize("1.5TiB").value(), uint64_t{1536} << 30);
  EXPECT_EQ(ParseSize("40GB").value(), 40'000'000'000u);
  EXPECT_EQ(ParseSize("2kB").value(), 2000u);
  EXPECT_EQ(ParseSize("18446744073709551615").value(), ~uint64_t{0});
}

TEST(Size, RefusesWhatIsNone) {
  for (const char* text :
       {"", "GiB", "12 gib", "-1", "1.2.3", "12GiBs", "0x10", "1e3", "nan", "75%"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseSize(text).status())) << text;
  }
  EXPECT_FALSE(ParseSize("18446744073709551616").ok());
  EXPECT_FALSE(ParseSize("99999999TiB").ok());
}

TEST(Size, IsWrittenShortAndExactly) {
  EXPECT_EQ(SizeText(uint64_t{12} << 30), "12GiB");
  EXPECT_EQ(SizeText(uint64_t{1536} << 20), "1536MiB");
  EXPECT_EQ(SizeText(12345), "12345");
  EXPECT_EQ(SizeText(0), "0");
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{1024}, uint64_t{5} << 40, ~uint64_t{0}}) {
    EXPECT_EQ(ParseSize(SizeText(bytes)).value(), bytes);
  }
  EXPECT_EQ(HumanSize(uint64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(HumanSize(12), "12 B");
}

TEST(Capacity, IsASizeOrAPart) {
  EXPECT_EQ(ParseCapacity("75%").value(), (Capacity{.bytes = 0, .percent = 75}));
  EXPECT_EQ(ParseCapacity("12.5 %").value(), (Capacity{.bytes = 0, .percent = 12.5}));
  EXPECT_EQ(ParseCapacity("1MiB").value(), (Capacity{.bytes = 1 << 20, .percent = 0}));
  EXPECT_EQ(CapacityText({.bytes = 0, .percent = 12.5}), "12.5%");
  EXPECT_EQ(CapacityText({.bytes = 1 << 20, .percent = 0}), "1MiB");
}

TEST(Capacity, IsSomething) {
  for (const char* text : {"0", "0%", "100.5%", "-5%", "%", "much"}) {
    EXPECT_FALSE(ParseCapacity(text).ok()) << text;
  }
  EXPECT_THAT(std::string(ParseCapacity("much").status().message()), HasSubstr("75%"));
}

TEST(Duration, HasUnits) {
  EXPECT_EQ(ParseDuration("500ms").value(), 500ms);
  EXPECT_EQ(ParseDuration("5s").value(), 5s);
  EXPECT_EQ(ParseDuration("1.5s").value(), 1500ms);
  EXPECT_EQ(ParseDuration("2min").value(), 2min);
  EXPECT_EQ(ParseDuration("1h").value(), 1h);
  EXPECT_EQ(ParseDuration("0s").value(), 0s);
}

TEST(Duration, RefusesWhatIsNone) {
  for (const char* text : {"", "5", "5 years", "-5s", "s", "99999999h"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(Duration, IsWrittenShort) {
  EXPECT_EQ(DurationText(5s), "5s");
  EXPECT_EQ(DurationText(120s), "2min");
  EXPECT_EQ(DurationText(1500ms), "1500ms");
  EXPECT_EQ(DurationText(0s), "0s");
}

}  // namespace
}  // namespace modeld::app
