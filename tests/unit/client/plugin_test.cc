// How devices are spelled, and how libmodeld-cuda is found, or missed in words that help.

#include "device/plugin.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "fake_plugin.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "wire/error.h"

namespace modeld::device {
namespace {

using Kind = DeviceName::Kind;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

const std::vector<std::string> kNowhere = {"/nonexistent"};

TEST(DeviceName, IsReadInEachSpelling) {
  EXPECT_EQ(ParseDeviceName("host")->kind, Kind::kHost);
  EXPECT_EQ(ParseDeviceName("cuda")->kind, Kind::kCurrent);
  EXPECT_EQ(ParseDeviceName("cuda:12")->kind, Kind::kOrdinal);
  EXPECT_EQ(ParseDeviceName("cuda:12")->ordinal, 12);
  EXPECT_EQ(ParseDeviceName("GPU-5D7A")->kind, Kind::kUuid);
  EXPECT_EQ(ParseDeviceName("GPU-5D7A")->uuid, "GPU-5d7a") << "as modeld writes it";
}

TEST(DeviceName, IsRefusedInAnyOther) {
  for (const std::string text :
       {"", "Host", "cuda:", "cuda:-0", "cuda:1 ", "cuda:99999999999", "cuda0", "GPU-", "GPU-g",
        "gpu-5d7a", "0", "GPU-aaaa0000-1111-2222-3333-4444444444445"}) {
    const auto name = ParseDeviceName(text);
    ASSERT_FALSE(name.ok()) << text;
    EXPECT_EQ(wire::GetReason(name.status()), wire::Reason::kFieldInvalid) << text;
  }
}

TEST(DeviceName, OfASliceOfAGpuIsRefusedInWords) {
  const auto name = ParseDeviceName("MIG-5d7a0a6c-1a2b-4c3d-8e4f-0123456789ab");
  ASSERT_FALSE(name.ok());
  EXPECT_EQ(wire::GetReason(name.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_THAT(std::string(name.status().message()), HasSubstr("modeld uses whole GPUs only"));
}

TEST(DeviceName, MayBeTheUniqueBeginningOfAUuid) {
  const std::vector<std::string> uuids = {"GPU-aaaa", "GPU-aabb"};
  EXPECT_EQ(*FindUuid(*ParseDeviceName("GPU-aab"), uuids, "is here"), "GPU-aabb");
  EXPECT_EQ(wire::GetReason(FindUuid(*ParseDeviceName("GPU-aa"), uuids, "is here").status()),
            wire::Reason::kFieldInvalid);
  const auto none = FindUuid(*ParseDeviceName("GPU-b"), uuids, "is here");
  EXPECT_EQ(wire::GetReason(none.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_EQ(none.status().message(),
            "no GPU GPU-b is here, but: cuda:0 (GPU-aaaa), cuda:1 (GPU-aabb)");
}

TEST(LoadPlugin, SaysWhatIsMissingAndWhatToDo) {
  const auto plugin = Plugin::Load(kNowhere);
  ASSERT_FALSE(plugin.ok());
  EXPECT_EQ(wire::GetReason(plugin.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_THAT(std::string(plugin.status().message()),
              HasSubstr("libmodeld-cuda.so.0: cannot open shared object file"));
  EXPECT_THAT(wire::GetErrorInfo(plugin.status()).hint, HasSubstr("device host"));
}

TEST(LoadPlugin, SaysWhatIsWrongWithAFileThatIsThere) {
  std::string folder = "/tmp/mdpluginXXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/libmodeld-cuda.so.0") << "garbage";
  const auto plugin = Plugin::Load(std::vector<std::string>{folder});
  std::filesystem::remove_all(folder);
  ASSERT_FALSE(plugin.ok());
  EXPECT_THAT(std::string(plugin.status().message()), HasSubstr(folder + "/libmodeld-cuda.so.0: "));
}

// Those that load something do so in a process of their own: a library stays.

TEST(LoadPluginDeathTest, TakesTheOneInTheDirectory) {
  EXPECT_EXIT(
      {
        const auto plugin = Plugin::Load(std::vector<std::string>{kNowhere[0], FAKE_PLUGIN_DIR});
        std::cerr << (plugin.ok() ? (*plugin)->Uuids()->at(1) : plugin.status().ToString());
        const auto again = Plugin::Load({});
        _exit(again.ok() && *again == *plugin ? 0 : 1);
      },
      ExitedWithCode(0), testing::kGpuB);
}

TEST(LoadPluginDeathTest, RefusesOneOfAnotherRelease) {
  EXPECT_EXIT(
      {
        std::cerr << Plugin::Load(std::vector<std::string>{STALE_PLUGIN_DIR}).status();
        _exit(0);
      },
      ExitedWithCode(0), "of modeld 9.9, speaks version 999 of its interface");
}

}  // namespace
}  // namespace modeld::device
