#include "app/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/settings.h"

namespace modeld::app {
namespace {

using ::testing::HasSubstr;

std::variant<CommandLine, Exit> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "modeld");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

Exit Exits(std::vector<const char*> arguments) {
  const auto parsed = Parse(std::move(arguments));
  const Exit* const exit = std::get_if<Exit>(&parsed);
  EXPECT_NE(exit, nullptr);
  return exit != nullptr ? *exit : Exit{};
}

CommandLine Serves(std::vector<const char*> arguments) {
  const auto parsed = Parse(std::move(arguments));
  const CommandLine* const command = std::get_if<CommandLine>(&parsed);
  EXPECT_NE(command, nullptr);
  return command != nullptr ? *command : CommandLine{};
}

TEST(CommandLine, ServesWithoutFlags) {
  const CommandLine command = Serves({});
  EXPECT_EQ(command.action, CommandLine::Action::kServe);
  EXPECT_TRUE(command.settings.empty());
  EXPECT_EQ(command.config_file, "");
}

TEST(CommandLine, TakesEveryFlag) {
  const CommandLine command =
      Serves({"--config", "/m.toml", "--runtime-dir", "/r", "--state-dir=/s", "--root", "/a",
              "--root", "/b", "--host-capacity", "12GiB", "--check-config"});
  EXPECT_EQ(command.config_file, "/m.toml");
  EXPECT_EQ(command.action, CommandLine::Action::kCheckConfig);
  EXPECT_EQ(command.settings.at("runtime_dir").items[0].text, "/r");
  EXPECT_EQ(command.settings.at("runtime_dir").origin, "--runtime-dir");
  EXPECT_EQ(command.settings.at("state_dir").items[0].text, "/s");
  ASSERT_EQ(command.settings.at("roots").items.size(), 2u);
  EXPECT_EQ(command.settings.at("roots").items[1].text, "/b");
  EXPECT_EQ(command.settings.at("host_capacity").items[0].text, "12GiB");
}

TEST(CommandLine, DumpsTheConfiguration) {
  EXPECT_EQ(Serves({"--dump-config"}).action, CommandLine::Action::kDumpConfig);
}

TEST(CommandLine, ExplainsItself) {
  const Exit help = Exits({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.err, "");
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(help.out, HasSubstr(std::string(setting.flag)));
  }
  for (const char* words :
       {"--config", "--check-config", "--dump-config", "--version", "Examples:", "modelctl"}) {
    EXPECT_THAT(help.out, HasSubstr(words));
  }
}

TEST(CommandLine, TellsItsVersion) {
  const Exit version = Exits({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.out, HasSubstr("modeld " MODELD_VERSION));
}

TEST(CommandLine, RefusesWhatItDoesNotKnow) {
  for (const auto& arguments :
       std::vector<std::vector<const char*>>{{"--rot", "/a"},
                                             {"serve"},
                                             {"--root"},
                                             {"--root", "/a", "/b"},
                                             {"--dump-config", "--check-config"}}) {
    const Exit exit = Exits(arguments);
    EXPECT_EQ(exit.code, 2);
    EXPECT_EQ(exit.out, "");
    EXPECT_THAT(exit.err, HasSubstr("--help"));
  }
}

}  // namespace
}  // namespace modeld::app
