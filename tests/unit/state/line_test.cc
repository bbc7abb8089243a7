#include "state/line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "state/escape.h"
#include "wire/utf8.h"

namespace modeld::state {
namespace {

using ::testing::ElementsAre;

std::string WithoutEnd(std::string line) {
  line.pop_back();
  return line;
}

TEST(Line, HasItsChecksumInFront) {
  // XXH3-64 of nothing, as its specification has it.
  EXPECT_EQ(MakeLine(""), "2d06800538d394c2 \n");
  EXPECT_EQ(TextOf(WithoutEnd(MakeLine("{\"a\":1}"))), "{\"a\":1}");
}

TEST(Line, IsRefusedWithAnyBitChanged) {
  const std::string line = WithoutEnd(MakeLine("{\"a\":1}"));
  for (size_t bit = 0; bit < line.size() * 8; ++bit) {
    std::string changed = line;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(TextOf(changed), std::nullopt) << changed;
  }
}

TEST(Line, IsRefusedAtAnyOtherLength) {
  const std::string line = WithoutEnd(MakeLine("{}"));
  for (size_t size = 0; size < line.size(); ++size) {
    EXPECT_EQ(TextOf(line.substr(0, size)), std::nullopt) << size;
  }
  EXPECT_EQ(TextOf(line + " "), std::nullopt);
}

TEST(Line, IsFoundBehindADamagedLineFeed) {
  const std::string first = WithoutEnd(MakeLine("{\"a\":1}"));
  const std::string second = WithoutEnd(MakeLine("{\"b\":2}"));
  const std::string third = WithoutEnd(MakeLine("{}"));
  const std::string joined = first + "\x0B" + second + "\x0B" + third;
  EXPECT_THAT(SplitJoined(joined), ElementsAre(first, second, third));
  EXPECT_THAT(SplitJoined(first), ElementsAre(first));
  EXPECT_THAT(SplitJoined(""), ElementsAre(""));
}

TEST(Escape, KeepsUtf8Readable) {
  EXPECT_EQ(Escape("/data/m\u00E9t\u00E9o.pt"), "/data/m\u00E9t\u00E9o.pt");
  EXPECT_EQ(Escape("100%"), "100%25");
  EXPECT_EQ(Escape("/m\xE9"), "/m%E9");
  EXPECT_EQ(Escape("\u00E9\xFF%"), "%C3%A9%FF%25");
}

TEST(Escape, IsUtf8AndReversibleForAnyBytes) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes = {static_cast<char>(first), '%', static_cast<char>(second)};
      EXPECT_TRUE(wire::IsUtf8(Escape(bytes)));
      EXPECT_EQ(Unescape(Escape(bytes)), bytes);
    }
  }
}

TEST(Escape, RefusesHalves) {
  for (const char* text : {"%", "%4", "a%", "%zz", "%e9", "%4g"}) {
    EXPECT_EQ(Unescape(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace modeld::state
