#include "app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/settings.h"
#include "support/temp_dir.h"

namespace modeld::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    around_.uid = 1000;
    around_.working_dir = "/here";
    around_.environment = {{"XDG_RUNTIME_DIR", "/run/user/1000"}, {"HOME", dir_ / "home"}};
  }

  LoadedConfig Load(const RawValues& flags = {}, const std::string& file = {}) {
    auto loaded = LoadConfig(flags, file, around_);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return loaded.ok() ? *loaded : LoadedConfig{};
  }

  std::string Refusal(const RawValues& flags = {}, const std::string& file = {}) {
    const auto loaded = LoadConfig(flags, file, around_);
    EXPECT_FALSE(loaded.ok());
    return std::string(loaded.status().message());
  }

  static RawValue Flag(std::string text, std::string flag) {
    return {.items = {{std::move(text)}}, .is_list = false, .origin = std::move(flag)};
  }

  test::TempDir dir_;
  Surroundings around_;
};

TEST_F(ConfigTest, HasDefaults) {
  const LoadedConfig loaded = Load();
  EXPECT_EQ(loaded.config.runtime_dir, "/run/user/1000/modeld");
  EXPECT_EQ(loaded.config.state_dir, "");
  EXPECT_THAT(loaded.config.roots, IsEmpty());
  EXPECT_EQ(loaded.config.host_capacity.percent, 75);
  EXPECT_EQ(loaded.config.log_level, LogLevel::kInfo);
  EXPECT_EQ(loaded.config.stop_timeout, std::chrono::seconds(5));
  EXPECT_EQ(loaded.file, "");
  for (const Setting& setting : Settings()) {
    EXPECT_EQ(loaded.origins.at(std::string(setting.name)), "default");
  }
}

TEST_F(ConfigTest, FlagsComeBeforeTheEnvironmentBeforeTheFile) {
  const std::string file = dir_.Write(
      "m.toml",
      "state_dir = \"/file\"\nstop_timeout = \"1s\"\nlog_level = \"error\"\nroots = [\"/file\"]\n");
  around_.environment["MODELD_STATE_DIR"] = "/variable";
  around_.environment["MODELD_STOP_TIMEOUT"] = "2s";
  const LoadedConfig loaded = Load({{"state_dir", Flag("/flag", "--state-dir")}}, file);
  EXPECT_EQ(loaded.config.state_dir, "/flag");
  EXPECT_EQ(loaded.config.stop_timeout, std::chrono::seconds(2));
  EXPECT_EQ(loaded.config.log_level, LogLevel::kError);
  EXPECT_THAT(loaded.config.roots, ElementsAre("/file"));
  EXPECT_EQ(loaded.origins.at("state_dir"), "--state-dir");
  EXPECT_EQ(loaded.origins.at("stop_timeout"), "MODELD_STOP_TIMEOUT");
  EXPECT_EQ(loaded.origins.at("log_level"), file + ":3");
  EXPECT_EQ(loaded.origins.at("runtime_dir"), "default");
  EXPECT_EQ(loaded.file, file);
}

TEST_F(ConfigTest, SplitsListsInTheEnvironment) {
  around_.environment["MODELD_ROOTS"] = "/a:/b/";
  around_.environment["MODELD_ALLOW_UIDS"] = "1000, 1001";
  around_.environment["MODELD_ALLOW_GIDS"] = "";
  const LoadedConfig loaded = Load();
  EXPECT_THAT(loaded.config.roots, ElementsAre("/a", "/b"));
  EXPECT_THAT(loaded.config.allow_uids, ElementsAre(1000, 1001));
  EXPECT_THAT(loaded.config.allow_gids, IsEmpty());
}

TEST_F(ConfigTest, RelativePathsOfTheCommandLineStartWhereItWasTyped) {
  EXPECT_EQ(Load({{"state_dir", Flag("state/./x", "--state-dir")}}).config.state_dir,
            "/here/state/x");
  RawValue roots{.items = {{"models"}, {"../b"}}, .is_list = true, .origin = "--root"};
  EXPECT_THAT(Load({{"roots", roots}}).config.roots, ElementsAre("/here/models", "/b"));
  EXPECT_THAT(Refusal({}, dir_.Write("m.toml", "roots = [\"models\"]")), HasSubstr("absolute"));
}

TEST_F(ConfigTest, TidiesPaths) {
  EXPECT_THAT(Load({}, dir_.Write("m.toml", "roots = [\"//a///b/\", \"/\"]")).config.roots,
              ElementsAre("/a/b", "/"));
}

TEST_F(ConfigTest, NamesSettingAndPlaceOfWhatIsWrong) {
  const auto in_file = [&](const std::string& text) {
    return Refusal({}, dir_.Write("m.toml", text));
  };
  EXPECT_THAT(in_file("host_capacity = \"lots\""), HasSubstr("m.toml:1:17: host_capacity: `lots`"));
  EXPECT_THAT(in_file("\nroots = \"/a\""), HasSubstr("m.toml:2:9: roots: must be a list"));
  EXPECT_THAT(in_file("state_dir = [\"/a\"]"), HasSubstr("is a list"));
  EXPECT_THAT(in_file("roots = [1]"), HasSubstr("must be text"));
  // Of a list, the item.
  EXPECT_THAT(in_file("roots = [\n  \"/a\",\n  \"b\"]"), HasSubstr("m.toml:3:3: roots: \"b\""));
  EXPECT_THAT(in_file("log_level = \"loud\""), HasSubstr("debug, info, warn, error"));
  EXPECT_THAT(in_file("log_format = \"xml\""),
              HasSubstr("m.toml:1:14: log_format: \"xml\" is none of: text, json"));
  EXPECT_THAT(in_file("allow_uids = [\"alice\"]"), HasSubstr("`id`"));
  EXPECT_THAT(in_file("allow_uids = [-1]"), HasSubstr("allow_uids"));
  EXPECT_THAT(in_file("allow_uids = [4294967295]"), HasSubstr("allow_uids"));
  EXPECT_THAT(in_file("roots = [\"\"]"), HasSubstr("empty"));
  EXPECT_THAT(in_file("stop_timeout = \"5\""), HasSubstr("duration"));
  around_.environment["MODELD_LOG_LEVEL"] = "loud";
  EXPECT_THAT(Refusal(), HasSubstr("MODELD_LOG_LEVEL: log_level:"));
}

TEST_F(ConfigTest, ListensForMetricsOnThisMachineUnlessToldOtherwise) {
  const auto address = [&](const std::string& value) {
    return Load({}, dir_.Write("m.toml", "metrics_listen = " + value)).config.metrics_listen;
  };
  EXPECT_EQ(Load().config.metrics_listen, "");
  EXPECT_EQ(address("\"9464\""), "127.0.0.1:9464");
  EXPECT_EQ(address("9464"), "127.0.0.1:9464");
  EXPECT_EQ(address("\"0.0.0.0:80\""), "0.0.0.0:80");
  EXPECT_EQ(address("\"[::1]:0\""), "[::1]:0");
  EXPECT_EQ(address("\"\""), "");
  for (const char* wrong : {"localhost:9464", "65536", "127.0.0.1", ":9464", "[::1]", "::1:80"}) {
    EXPECT_THAT(
        Refusal({}, dir_.Write("m.toml", "metrics_listen = \"" + std::string(wrong) + "\"")),
        HasSubstr("metrics_listen: \"" + std::string(wrong) + "\" is no port"));
  }
}

TEST_F(ConfigTest, AReloadTakesOverWhatIsMarkedAndNamesTheRest) {
  Config running = Load().config;
  const Config wanted =
      Load({}, dir_.Write("m.toml",
                          "log_level = \"debug\"\nallow_uids = [7]\nhost_capacity = \"1GiB\"\n"
                          "roots = [\"/a\"]\n"))
          .config;
  const Reloaded reloaded = TakeReloadable(wanted, running);
  EXPECT_THAT(reloaded.taken, ElementsAre("allow_uids", "log_level"));
  EXPECT_THAT(reloaded.waiting, ElementsAre("roots", "host_capacity"));
  EXPECT_EQ(running.log_level, LogLevel::kDebug);
  EXPECT_THAT(running.allow_uids, ElementsAre(7));
  EXPECT_EQ(running.host_capacity.percent, 75);
  EXPECT_THAT(TakeReloadable(wanted, running).taken, IsEmpty());
}

TEST_F(ConfigTest, AReloadDoesNotPreload) {
  Config running = Load().config;
  const Config wanted = Load({}, dir_.Write("m.toml", "[[preload]]\nreference = \"a\"\n")).config;
  EXPECT_THAT(TakeReloadable(wanted, running).waiting, ElementsAre("preload"));
  EXPECT_THAT(running.preloads, IsEmpty());
  EXPECT_THAT(TakeReloadable(wanted, running = wanted).waiting, IsEmpty());
}

TEST_F(ConfigTest, TheFormOfTheLogComesFromTheEnvironmentToo) {
  EXPECT_EQ(Load().config.log_format, LogFormat::kText);
  around_.environment["MODELD_LOG_FORMAT"] = "json";
  EXPECT_EQ(Load().config.log_format, LogFormat::kJson);
}

TEST_F(ConfigTest, TakesNumbersWhereTheyMakeSense) {
  const auto config =
      Load({}, dir_.Write("m.toml",
                          "host_capacity = 1048576\nallow_uids = [0, 7]\nsocket_group = 44\n"))
          .config;
  EXPECT_EQ(config.host_capacity.bytes, 1u << 20);
  EXPECT_THAT(config.allow_uids, ElementsAre(0, 7));
  EXPECT_EQ(config.socket_group, "44");
}

TEST_F(ConfigTest, ANamedFileMustBeThereAndTheDefaultOneNeedNot) {
  EXPECT_THAT(Refusal({}, dir_ / "none.toml"), HasSubstr("none.toml"));
  around_.environment["MODELD_CONFIG"] = dir_ / "none.toml";
  EXPECT_THAT(Refusal(), HasSubstr("none.toml"));
  around_.environment.erase("MODELD_CONFIG");
  EXPECT_EQ(Load().file, "");
  dir_.Write("home/.config/modeld/modeld.toml", "log_level = \"debug\"");
  EXPECT_EQ(Load().config.log_level, LogLevel::kDebug);
  around_.environment["XDG_CONFIG_HOME"] = dir_ / "config";
  EXPECT_EQ(Load().config.log_level, LogLevel::kInfo);
  dir_.Write("config/modeld/modeld.toml", "log_level = \"warn\"");
  EXPECT_EQ(Load().config.log_level, LogLevel::kWarn);
}

TEST_F(ConfigTest, RootServesTheMachine) {
  around_.uid = 0;
  around_.environment["MODELD_CONFIG"] = "/dev/null";  // whatever this machine has in /etc
  dir_.Mkdir("home/.cache/huggingface/hub");
  EXPECT_EQ(Load().config.runtime_dir, "/run/modeld");
  EXPECT_THAT(Load().config.roots, IsEmpty());
  around_.environment.clear();
  EXPECT_EQ(DefaultConfigPath(around_), "/etc/modeld/modeld.toml");
}

TEST_F(ConfigTest, AUsersOwnDaemonServesItsHuggingFaceCache) {
  dir_.Mkdir("home/.cache/huggingface/hub");
  EXPECT_THAT(Load().config.roots, ElementsAre(dir_ / "home/.cache/huggingface/hub"));
  around_.environment["MODELD_ROOTS"] = "/a";
  EXPECT_THAT(Load().config.roots, ElementsAre("/a"));
}

TEST_F(ConfigTest, WithoutARuntimeDirectoryItSaysSo) {
  around_.environment.erase("XDG_RUNTIME_DIR");
  EXPECT_THAT(Refusal(), HasSubstr("XDG_RUNTIME_DIR is not set"));
  EXPECT_EQ(Load({{"runtime_dir", Flag("/r", "--runtime-dir")}}).config.runtime_dir, "/r");
}

TEST_F(ConfigTest, CapacityIsTheSizeOrThePartOfTheMemory) {
  Config config;
  config.host_capacity = {.bytes = 12345, .percent = 0};
  EXPECT_EQ(HostCapacityBytes(config).value(), 12345u);
  config.host_capacity = {.bytes = 0, .percent = 100};
  const uint64_t all = HostCapacityBytes(config).value();
  EXPECT_GT(all, uint64_t{64} << 20);
  config.host_capacity = {.bytes = 0, .percent = 50};
  EXPECT_NEAR(static_cast<double>(HostCapacityBytes(config).value()), static_cast<double>(all) / 2,
              4096);
}

}  // namespace
}  // namespace modeld::app
