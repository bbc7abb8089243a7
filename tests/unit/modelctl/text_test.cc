#include "modelctl/text.h"

#include <gtest/gtest.h>

namespace modeld::modelctl {
namespace {

using std::chrono::seconds;

TEST(HumanBytes, NamesTheUnitThatKeepsTheNumberSmall) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes(90868376), "86.7 MiB");
  EXPECT_EQ(HumanBytes(uint64_t{4} << 30), "4.0 GiB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "16.0 EiB");
}

TEST(HumanBytes, NeverPrints1024OfAUnit) {
  EXPECT_EQ(HumanBytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(HumanBytes((uint64_t{1} << 30) - 1), "1.0 GiB");
}

TEST(HumanAge, HasTwoUnitsAtMost) {
  EXPECT_EQ(HumanAge(seconds(-5)), "0s");
  EXPECT_EQ(HumanAge(seconds(59)), "59s");
  EXPECT_EQ(HumanAge(seconds(303)), "5m03s");
  EXPECT_EQ(HumanAge(seconds(7500)), "2h05m");
  EXPECT_EQ(HumanAge(seconds(86400 * 3 + 3600 * 4 + 59)), "3d04h");
}

TEST(Times, AreADashWhereTheyAreUnset) {
  const google::protobuf::Timestamp unset;
  EXPECT_EQ(Age(unset, std::chrono::system_clock::now()), "-");
  EXPECT_EQ(Rfc3339(unset), "-");
}

TEST(Times, SayHowFarTheyAreAway) {
  const auto now = std::chrono::system_clock::from_time_t(1700000000);
  google::protobuf::Timestamp time;
  EXPECT_EQ(Until(time, now), "-");
  time.set_seconds(1700000299);
  EXPECT_EQ(Until(time, now), "in 4m59s");
  time.set_seconds(1699999999);
  EXPECT_EQ(Until(time, now), "now");
}

TEST(Printable, EscapesWhatCouldSteerATerminal) {
  EXPECT_EQ(Printable("world/café"), "world/café");
  EXPECT_EQ(Printable("a\033[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(Printable("a\nb\tc\x7f"), "a\\x0ab\\x09c\\x7f");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");           // C1: the one-character CSI
  EXPECT_EQ(Printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right-to-left override
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(Printable("a\xff"), "a\\xff");
  EXPECT_EQ(Printable("\xc3"), "\\xc3");                    // cut short
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
}

TEST(DisplayWidth, CountsColumnsAndNotBytes) {
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("é"), 1u);
  EXPECT_EQ(DisplayWidth("e\xcc\x81"), 1u);  // e and a combining accent
  EXPECT_EQ(DisplayWidth("模型"), 4u);
  EXPECT_EQ(DisplayWidth("├─ "), 3u);
}

TEST(TruncateMiddle, KeepsBothEnds) {
  EXPECT_EQ(TruncateMiddle("backbone.safetensors", 20), "backbone.safetensors");
  EXPECT_EQ(TruncateMiddle("backbone.safetensors", 11), "backb…nsors");
  EXPECT_EQ(TruncateMiddle("backbone.safetensors", 10), "back…nsors");
  EXPECT_EQ(TruncateMiddle("abc", 1), "…");
  EXPECT_EQ(TruncateMiddle("abc", 0), "");
}

TEST(TruncateMiddle, NeverCutsACharacterAndNeverGetsTooWide) {
  const std::string text =
      "模型模型模型模型/e\xcc\x81"
      "e\xcc\x81/weights";
  for (size_t width = 1; width < 30; ++width) {
    const std::string cut = TruncateMiddle(text, width);
    EXPECT_LE(DisplayWidth(cut), width);
    EXPECT_EQ(Printable(cut), cut) << "no half characters";
  }
}

}  // namespace
}  // namespace modeld::modelctl
