#include "app/config_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "app/config_file.h"
#include "app/settings.h"
#include "support/temp_dir.h"

namespace modeld::app {
namespace {

using ::testing::HasSubstr;

Surroundings Around() {
  Surroundings around;
  around.uid = 1000;
  around.environment = {{"XDG_RUNTIME_DIR", "/run/user/1000"}, {"HOME", "/nowhere"}};
  return around;
}

// The default values as the settings' texts say them.
LoadedConfig FromDefaultTexts(const test::TempDir& dir) {
  std::string text;
  for (const Setting& setting : Settings()) {
    text += std::string(setting.name) + " = " + std::string(setting.default_text) + "\n";
  }
  auto loaded = LoadConfig({}, dir.Write("defaults.toml", text), Around());
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? *loaded : LoadedConfig{};
}

TEST(ConfigText, DocumentedDefaultsAreTheDefaults) {
  const test::TempDir dir;
  const LoadedConfig documented = FromDefaultTexts(dir);
  const auto defaults = LoadConfig({}, {}, Around());
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  for (const Setting& setting : Settings()) {
    if (setting.name == "runtime_dir") continue;  // differs by user
    EXPECT_EQ(TomlText(setting, documented.config), TomlText(setting, defaults->config));
  }
}

TEST(ConfigText, TheInstalledFileIsTheGeneratedOne) {
  std::ifstream file(MODELD_CONFIG_FILE);
  std::ostringstream installed;
  installed << file.rdbuf();
  const std::string generated = DefaultConfigFile();
  if (installed.str() != generated) {
    const std::string path = ::testing::TempDir() + "modeld.toml";
    std::ofstream(path) << generated;
    ADD_FAILURE() << MODELD_CONFIG_FILE << " is not what the settings say; mend it with: cp "
                  << path << " " << MODELD_CONFIG_FILE;
  }
}

TEST(ConfigText, TheInstalledFileIsReadable) {
  const auto values = ReadConfigFile(MODELD_CONFIG_FILE);
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_TRUE(values->settings.empty());
  EXPECT_TRUE(values->preloads.empty());
}

TEST(ConfigText, TheInstalledFileIsReadableWithEverythingIn) {
  std::istringstream lines(DefaultConfigFile());
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    const bool is_setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    text += (is_setting ? line.substr(1) : line) + "\n";
  }
  const auto values = ParseConfigText(text, "modeld.toml");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(values->settings.size(), Settings().size());
  ASSERT_EQ(values->preloads.size(), 1u);
  EXPECT_EQ(values->preloads.front().spec.reference, "sd/backbone.safetensors");
}

TEST(ConfigText, ADumpReadsBackAsTheSame) {
  const test::TempDir dir;
  const std::string file =
      dir.Write("m.toml",
                "roots = [\"/a \\\"b\\\"\\\\\", \"/c\\u0007\"]\nhost_capacity = \"1536MiB\"\n"
                "allow_gids = [5]\nstop_timeout = \"90s\"\nlog_level = \"warn\"\n"
                "log_format = \"json\"\n[[preload]]\nreference = \"a\"\npin = true\n"
                "[[preload]]\nreference = \"b\"\nkeep_alive = \"0s\"\n");
  const auto first = LoadConfig({}, file, Around());
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string dump = DumpConfig(*first);
  EXPECT_THAT(dump, HasSubstr("host_capacity = \"1536MiB\"  # " + file + ":2"));
  EXPECT_THAT(dump, HasSubstr("state_dir = \"\"  # default"));
  const auto second = LoadConfig({}, dir.Write("dump.toml", dump), Around());
  ASSERT_TRUE(second.ok()) << second.status();
  for (const Setting& setting : Settings()) {
    EXPECT_EQ(TomlText(setting, first->config), TomlText(setting, second->config)) << setting.name;
  }
  EXPECT_EQ(first->config.preloads.size(), 2u);
  EXPECT_EQ(first->config.preloads, second->config.preloads);
}

TEST(Settings, HaveHelpAndVariables) {
  for (const Setting& setting : Settings()) {
    EXPECT_FALSE(setting.help.empty()) << setting.name;
    EXPECT_EQ(FindSetting(setting.name), &setting);
  }
  EXPECT_EQ(EnvironmentName(*FindSetting("host_capacity")), "MODELD_HOST_CAPACITY");
  EXPECT_EQ(FindSetting("none"), nullptr);
}

}  // namespace
}  // namespace modeld::app
