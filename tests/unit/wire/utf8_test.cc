#include "wire/utf8.h"

#include <gtest/gtest.h>

namespace modeld::wire {
namespace {

TEST(Utf8, AcceptsCharactersOfEveryLength) {
  for (const std::string_view text :
       {"", "a", "layers.0.attention.weight", "é", "größe", "日本語", "𝄞", "\xEF\xBF\xBF",
        "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF", "\xEE\x80\x80", "0123456é", "01234567é"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
    EXPECT_EQ(ToUtf8(text), text);
  }
  EXPECT_TRUE(IsUtf8(std::string_view("a\0b", 3)));
}

TEST(Utf8, RefusesWhatIsNone) {
  const std::string_view bad[] = {
      "\x80",              // a continuation alone
      "\xC3",              // cut off
      "\xC3(",             // no continuation
      "\xC0\x80",          // overlong NUL
      "\xC1\xBF",          // overlong
      "\xE0\x9F\xBF",      // overlong
      "\xE2\x82",          // cut off
      "\xED\xA0\x80",      // surrogate
      "\xED\xBF\xBF",      // surrogate
      "\xF0\x8F\xBF\xBF",  // overlong
      "\xF0\x9D\x84",      // cut off
      "\xF4\x90\x80\x80",  // above U+10FFFF
      "\xF5\x80\x80\x80",
      "\xFE",
      "\xFF",
      "01234567\xFF",
      "0123456\xC3",
  };
  for (const std::string_view text : bad) {
    EXPECT_FALSE(IsUtf8(text)) << text;
    EXPECT_FALSE(IsUtf8(std::string("0123456789") + std::string(text))) << text;
    EXPECT_TRUE(IsUtf8(ToUtf8(text))) << text;
  }
}

TEST(Utf8, ReplacesOnlyTheBytesThatAreWrong) {
  EXPECT_EQ(ToUtf8("caf\xE9/größe"), "caf\uFFFD/größe");
  EXPECT_EQ(ToUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}

}  // namespace
}  // namespace modeld::wire
