#include "modelctl/verb_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace modeld::modelctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

absl::Status Nothing(Environment&) { return absl::OkStatus(); }

// One verb with every kind of argument, another that has verbs of its own.
class VerbParser : public ::testing::Test {
 protected:
  VerbParser() {
    Argument wait = Option(
        "-w,--wait", "TIME", [this](const std::string& value) { waits.push_back(value); },
        "with its value or without");
    wait.values = Argument::Values::kOptional;
    const Argument odd = {.name = "--odd",
                          .help = "an odd number",
                          .type = "N",
                          .take = [](const std::string& value) {
                            return value.back() % 2 == 1
                                       ? absl::OkStatus()
                                       : absl::InvalidArgumentError(value + " is even");
                          }};
    Argument alone = Flag("--alone", alone_given, "without --name");
    alone.excludes = "--name";
    verbs_.push_back(
        {.name = "take",
         .aliases = {"t"},
         .summary = "Takes what it is given",
         .example = "  take A B",
         .arguments = {Operand("FIRST", first, "one"), OptionalOperand("SECOND", second, "two"),
                       Flag("-f,--flag", flag, "a flag"),
                       Option(
                           "--name", "NAME", [this](const std::string& value) { name = value; },
                           "a name"),
                       RepeatedOption(
                           "--more", "GLOB",
                           [this](const std::string& value) { more.push_back(value); }, "again"),
                       Option("-n,--number", "N", number, "a number"), wait, odd, alone},
         .run = Nothing});
    verbs_.push_back({.name = "all",
                      .summary = "Takes all operands",
                      .example = "  all A B",
                      .arguments = {Operands("EACH", each, "any number")},
                      .run = Nothing});
    verbs_.push_back(
        {.name = "outer",
         .summary = "Has a verb of its own",
         .example = "  outer inner",
         .verbs = {{.name = "inner", .summary = "In", .example = "  outer inner", .run = Nothing}},
         .run = Nothing});
  }

  // Reads the command line as a new program would; "" or what is wrong with it.
  std::string Parse(std::vector<std::string> words) {
    CLI::App app("a program");
    for (const Verb& verb : verbs_) AddVerb(app, verb, chosen);
    std::ranges::reverse(words);
    try {
      app.parse(words);
    } catch (const CLI::CallForHelp&) {
      return app.help();
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    return "";
  }

  std::string first;
  std::optional<std::string> second;
  bool flag = false;
  std::string name;
  std::vector<std::string> more;
  std::optional<uint32_t> number;
  std::vector<std::string> waits;
  bool alone_given = false;
  std::vector<std::string> each;
  const Verb* chosen = nullptr;

 private:
  std::vector<Verb> verbs_;
};

TEST_F(VerbParser, GivesEveryArgumentItsValue) {
  ASSERT_EQ(Parse({"take", "a", "b", "-f", "--name", "n", "--more", "x", "--number=7", "--more",
                   "y", "--odd", "3"}),
            "");
  EXPECT_STREQ(chosen->name, "take");
  EXPECT_EQ(first, "a");
  EXPECT_EQ(second, "b");
  EXPECT_TRUE(flag);
  EXPECT_EQ(name, "n");
  EXPECT_THAT(more, ElementsAre("x", "y"));
  EXPECT_EQ(number, 7U);
}

TEST_F(VerbParser, LeavesAloneWhatIsNotGiven) {
  ASSERT_EQ(Parse({"t", "a"}), "");
  EXPECT_STREQ(chosen->name, "take") << "by its alias";
  EXPECT_EQ(second, std::nullopt);
  EXPECT_FALSE(flag);
  EXPECT_EQ(name, "");
  EXPECT_THAT(more, IsEmpty());
  EXPECT_EQ(number, std::nullopt);
  EXPECT_THAT(waits, IsEmpty());
}

TEST_F(VerbParser, TellsAnEmptyOperandFromNone) {
  ASSERT_EQ(Parse({"take", "a", ""}), "");
  EXPECT_EQ(second, "");
}

TEST_F(VerbParser, AnOptionalValueIsEmptyWithoutOne) {
  ASSERT_EQ(Parse({"take", "a", "--wait"}), "");
  ASSERT_EQ(Parse({"take", "a", "-w", "5s"}), "");
  EXPECT_THAT(waits, ElementsAre("", "5s"));
}

TEST_F(VerbParser, TakesAllOperandsThatThereAre) {
  ASSERT_EQ(Parse({"all", "a", "b", "c"}), "");
  EXPECT_THAT(each, ElementsAre("a", "b", "c"));
  EXPECT_THAT(Parse({"all"}), HasSubstr("EACH"));
}

TEST_F(VerbParser, SaysWhatIsMissingTooMuchOrWrong) {
  EXPECT_THAT(Parse({"take"}), HasSubstr("FIRST is required"));
  EXPECT_THAT(Parse({"take", "a", "b", "c"}), Not(IsEmpty()));
  EXPECT_THAT(Parse({"take", "a", "--name", "x", "--name", "y"}), HasSubstr("--name"));
  EXPECT_EQ(Parse({"take", "a", "--odd", "4"}), "--odd: 4 is even");
  EXPECT_EQ(Parse({"take", "a", "-n", "-1"}),
            "--number: \"-1\" is not a number from 0 to 4294967295");
  EXPECT_EQ(Parse({"take", "a", "--number", "4294967296"}),
            "--number: \"4294967296\" is not a number from 0 to 4294967295");
  EXPECT_THAT(Parse({"take", "a", "--alone", "--name", "x"}), HasSubstr("excludes"));
  EXPECT_EQ(chosen, nullptr);
}

TEST(Join, KeepsTheOrder) {
  bool value = false;
  const auto joined =
      Join({{Flag("-a", value, "")}, {}, {Flag("-b", value, ""), Flag("-c", value, "")}});
  ASSERT_EQ(joined.size(), 3U);
  EXPECT_STREQ(joined[0].name, "-a");
  EXPECT_STREQ(joined[2].name, "-c");
}

TEST_F(VerbParser, ChoosesTheInnermostVerb) {
  ASSERT_EQ(Parse({"outer", "inner"}), "");
  EXPECT_STREQ(chosen->name, "inner");
  ASSERT_EQ(Parse({"outer"}), "");
  EXPECT_STREQ(chosen->name, "outer");
}

TEST_F(VerbParser, HelpNamesArgumentsAndEndsWithTheExample) {
  const std::string help = Parse({"take", "--help"});
  EXPECT_THAT(help, HasSubstr("FIRST REQUIRED"));
  EXPECT_THAT(help, HasSubstr("-n,--number N"));
  EXPECT_THAT(help, HasSubstr("--wait TIME"));
  EXPECT_THAT(help, HasSubstr("Example:\n  take A B\n"));
}

}  // namespace
}  // namespace modeld::modelctl
