#include "checkpoint/json_reader.h"

#include <gtest/gtest.h>

namespace modeld::checkpoint {
namespace {

bool Skips(std::string_view text) {
  JsonReader reader(text);
  return reader.SkipValue() && reader.AtEnd();
}

TEST(JsonReader, PassesOverEveryKindOfValue) {
  for (const char* good : {"0", "-0", "12", "1.5", "-1.5e-7", "1E+2", "true", "false", "null",
                           R"("")", R"("a\"b\\\u00e9\ud83d\ude00")", "[]", "{}", "[ ]", "{ }",
                           "[1,2]", R"({"a":1,"b":[{}]})", R"([[[]],{"a":{}}])"}) {
    EXPECT_TRUE(Skips(good)) << good;
  }
}

TEST(JsonReader, RefusesWhatJsonDoesNotAllow) {
  for (const char* bad : {"",
                          " ",
                          "01",
                          "1.",
                          ".5",
                          "1e",
                          "1e+",
                          "+1",
                          "-",
                          "--1",
                          "0x1",
                          "tru",
                          "True",
                          "nul",
                          "'a'",
                          R"("a)",
                          R"("\q")",
                          R"("\u00g0")",
                          R"("\ud800")",
                          R"("\ud800\u0041")",
                          "\"\t\"",
                          "[",
                          "[1",
                          "[1,",
                          "[1,]",
                          "[,1]",
                          "{",
                          R"({"a")",
                          R"({"a":)",
                          R"({"a":1)",
                          R"({"a":1,})",
                          R"({1:2})",
                          R"({"a" 1})",
                          "[1}",
                          R"({"a":1])",
                          "]",
                          "}",
                          ","}) {
    EXPECT_FALSE(Skips(bad)) << bad;
  }
}

TEST(JsonReader, RemembersTheFirstFailureAndItsByte) {
  JsonReader reader(R"(  {"a": x})");
  EXPECT_TRUE(reader.Take('{'));
  EXPECT_EQ(reader.String(), "a");
  EXPECT_TRUE(reader.Take(':'));
  EXPECT_FALSE(reader.Unsigned("a dimension"));
  EXPECT_FALSE(reader.Take('}'));
  EXPECT_EQ(reader.error_position(), 8u);
  EXPECT_EQ(reader.error(), "a dimension must be a whole number, not 'x'");
}

TEST(JsonReader, NumbersAreExactUpToTheLastBit) {
  JsonReader reader("18446744073709551615 18446744073709551616");
  EXPECT_EQ(reader.Unsigned("n"), UINT64_MAX);
  EXPECT_FALSE(reader.Unsigned("n"));
}

TEST(JsonReader, StringsStayValidWhileTheReaderLives) {
  JsonReader reader(R"("plain" "\u0065scaped" "\u00e9" "\u0800" "\ud83d\ude00" "\u0000")");
  const auto plain = reader.String();
  const auto escaped = reader.String();
  EXPECT_EQ(reader.String(), "\u00e9");
  EXPECT_EQ(reader.String(), "\u0800");
  EXPECT_EQ(reader.String(), "\U0001F600");
  EXPECT_EQ(reader.String(), std::string_view("\0", 1));
  EXPECT_EQ(plain, "plain");
  EXPECT_EQ(escaped, "escaped");
}

TEST(JsonReader, DepthIsBounded) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(Skips(nested(JsonReader::kMaxDepth)));
  EXPECT_FALSE(Skips(nested(JsonReader::kMaxDepth + 1)));
}

}  // namespace
}  // namespace modeld::checkpoint
