#include "app/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace modeld::app {
namespace {

using ::testing::HasSubstr;

std::string Refusal(std::string_view text) {
  const auto values = ParseConfigText(text, "/etc/m.toml");
  EXPECT_FALSE(values.ok());
  EXPECT_TRUE(absl::IsInvalidArgument(values.status()));
  return std::string(values.status().message());
}

TEST(ConfigFile, KeepsValuesAndWhereTheyStand) {
  const auto values =
      ParseConfigText("# models\nroots = [\"/a\", \"/b\"]\n\nhost_capacity = 4096\n", "m.toml");
  ASSERT_TRUE(values.ok()) << values.status();
  ASSERT_EQ(values->settings.size(), 2u);
  const RawValue& roots = values->settings.at("roots");
  EXPECT_TRUE(roots.is_list);
  ASSERT_EQ(roots.items.size(), 2u);
  EXPECT_EQ(roots.items[1].text, "/b");
  EXPECT_EQ(roots.origin, "m.toml:2");
  EXPECT_TRUE(values->settings.at("host_capacity").items[0].is_number);
  EXPECT_EQ(values->settings.at("host_capacity").origin, "m.toml:4");
}

TEST(ConfigFile, MayBeEmpty) {
  const auto file = ParseConfigText("", "m.toml");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->settings.empty());
  EXPECT_TRUE(file->preloads.empty());
}

TEST(ConfigFile, NamesLineAndColumnOfWhatIsNoToml) {
  EXPECT_THAT(Refusal("roots = []\nstate_dir = \n"), HasSubstr("/etc/m.toml:2:"));
  EXPECT_THAT(Refusal("roots = []\nroots = []\n"), HasSubstr("/etc/m.toml:2:"));
}

TEST(ConfigFile, SuggestsTheNearestKey) {
  EXPECT_THAT(Refusal("\n  root = []\n"),
              HasSubstr("/etc/m.toml:2:3: `root` is no setting; did you mean `roots`?"));
  EXPECT_THAT(Refusal("host_capcity = \"1GiB\""), HasSubstr("`host_capacity`"));
  EXPECT_THAT(Refusal("xyzzy = 1"), HasSubstr("man 5 modeld.toml"));
}

TEST(ConfigFile, RefusesTypesThatNoSettingHas) {
  EXPECT_THAT(Refusal("roots = 1979-05-27"), HasSubstr("/etc/m.toml:1:"));
  EXPECT_THAT(Refusal("roots = [[\"/a\"]]"), HasSubstr("`roots`"));
  EXPECT_THAT(Refusal("roots = 1.5"), HasSubstr("`roots`"));
  EXPECT_THAT(Refusal("[roots]\na = 1"), HasSubstr("`roots`"));
  EXPECT_THAT(Refusal("[daemon]\nroots = []"), HasSubstr("`daemon` is no setting"));
}

TEST(ConfigFile, IsReadFromDisk) {
  const test::TempDir dir;
  const auto values = ReadConfigFile(dir.Write("m.toml", "log_level = \"debug\""));
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(values->settings.at("log_level").items[0].text, "debug");
  EXPECT_TRUE(absl::IsNotFound(ReadConfigFile(dir / "none").status()));
  EXPECT_TRUE(absl::IsUnavailable(ReadConfigFile(dir.path()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      ReadConfigFile(dir.Write("large", std::string((1 << 20) + 1, '#'))).status()));
}

}  // namespace
}  // namespace modeld::app
