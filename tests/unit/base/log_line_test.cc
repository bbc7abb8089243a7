#include "base/log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace modeld::base {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(LogText, ReadsBackAsWhatItWasMadeOf) {
  const std::string text =
      LogText("agent \"died\"", {{"pid", "7"}, {"path", "/a b"}, {"empty", ""}, {"odd", "a=b\\"}});
  EXPECT_EQ(text, R"(msg="agent \"died\"" pid=7 path="/a b" empty="" odd="a=b\\")");
  const auto fields = ParseLogText(text);
  ASSERT_TRUE(fields.has_value());
  EXPECT_THAT(*fields, ElementsAre(Pair("msg", "agent \"died\""), Pair("pid", "7"),
                                   Pair("path", "/a b"), Pair("empty", ""), Pair("odd", "a=b\\")));
}

TEST(LogText, ReadsEveryByteBack) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string value(1, static_cast<char>(byte));
    for (const std::string& text : {LogText(value, {{"key", value}}),
                                    "msg=" + QuotedLogValue(value) + " key=" + LogValue(value)}) {
      const auto fields = ParseLogText(text);
      ASSERT_TRUE(fields.has_value()) << byte << ": " << text;
      EXPECT_THAT(*fields, ElementsAre(Pair("msg", value), Pair("key", value)));
      EXPECT_EQ(text.find('\n'), std::string::npos);
    }
  }
}

TEST(LogText, ReadsEveryEscape) {
  const auto fields = ParseLogText(R"(msg="\"\\\n\x00\x1b\x7f\xff" a=b)");
  ASSERT_TRUE(fields.has_value());
  EXPECT_EQ(fields->front().second, std::string("\"\\\n\0\x1b\x7f\xff", 7));
}

TEST(LogText, IsNothingElse) {
  for (const char* text : {"",
                           "agent died",
                           "a=b msg=\"x\"",
                           "msg=",
                           "msg=\"x",
                           "msg=\"x\" ",
                           "msg=\"x\"  a=b",
                           "msg=\"x\"a=b",
                           "msg=\"x\" a",
                           "msg=\"x\" a=",
                           "msg=\"x\" =b",
                           "msg=\"x\" a-b=c",
                           "msg=\"x\" a=b=c",
                           "msg=\"x\" a=b\tc",
                           R"(msg="\t")",
                           R"(msg="\x1")",
                           R"(msg="\x1G")",
                           R"(msg="\xAB")",
                           R"(msg="\)",
                           R"(msg="a "b" c")",
                           "msg=\"x\" a=b a=c",
                           "msg=\"x\" msg=y"}) {
    EXPECT_EQ(ParseLogText(text), std::nullopt) << text;
  }
}

TEST(LogText, IsToldFromAMessageByItsBeginning) {
  EXPECT_TRUE(IsLogText("msg=\"x\""));
  EXPECT_FALSE(IsLogText("the agent is away"));
}

TEST(JsonLogLine, KeepsTheOrderAndMakesEveryValueText) {
  EXPECT_EQ(
      JsonLogLine({{"time", "t"}, {"level", "warn"}}, R"(msg="agent died" pid=7 a="x \"y\"")"),
      R"({"time":"t","level":"warn","msg":"agent died","pid":"7","a":"x \"y\""})");
}

TEST(JsonLogLine, TakesWhatIsNoLogTextAsTheMessage) {
  EXPECT_EQ(JsonLogLine({}, "residency 7 is \"away\"\n"), R"({"msg":"residency 7 is \"away\""})");
  EXPECT_EQ(JsonLogLine({}, "msg=\"a \"b\"\""), R"({"msg":"msg=\"a \"b\"\""})");
  EXPECT_EQ(JsonLogLine({}, ""), R"({"msg":""})");
}

TEST(JsonLogLine, NamesNothingTwice) {
  EXPECT_EQ(JsonLogLine({{"level", "info"}}, "msg=\"x\" level=3"),
            R"({"level":"info","msg":"msg=\"x\" level=3"})");
}

TEST(JsonLogLine, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(JsonLogLine({}, LogText("a\xff", {{"path", "/\xc3\x28/\xe2\x82\xac"}})),
            "{\"msg\":\"a\uFFFD\",\"path\":\"/\uFFFD(/€\"}");
}

TEST(JsonLogLine, IsOneObjectOnOneLineWhateverIsLogged) {
  std::mt19937 random(1);
  for (int i = 0; i < 2'000; ++i) {
    std::string noise(random() % 40, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    for (const std::string& text : {noise, "msg=" + noise, LogText(noise, {{"key", noise}})}) {
      const std::string line = JsonLogLine({{"program", noise}}, text);
      EXPECT_EQ(line.find('\n'), std::string::npos);
      const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      ASSERT_TRUE(json.is_object()) << line;
      EXPECT_TRUE(json.contains("msg"));
    }
  }
}

TEST(LogTime, IsUtcToTheMillisecond) {
  EXPECT_EQ(LogTime(WallTime(std::chrono::milliseconds(1'700'000'000'123))),
            "2023-11-14T22:13:20.123Z");
}

}  // namespace
}  // namespace modeld::base
