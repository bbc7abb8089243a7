#include "modelctl/endpoint.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace modeld::modelctl {
namespace {

TEST(Endpoint, OfTheFlagWinsOverTheEnvironment) {
  const auto endpoint = ResolveEndpoint({.flag = "unix:///a/modeld.sock",
                                         .environment = "/b/modeld.sock",
                                         .xdg_runtime_dir = "",
                                         .root = true});
  ASSERT_TRUE(endpoint.ok());
  EXPECT_EQ(endpoint->modeld, "/a/modeld.sock");
  EXPECT_EQ(endpoint->admin, "/a/admin.sock");
  EXPECT_EQ(endpoint->attach, "/a/attach.sock");
  EXPECT_EQ(endpoint->directory(), "/a");
}

TEST(Endpoint, MayBeWrittenInThreeWays) {
  for (const char* text : {"unix:///a/modeld.sock", "unix:/a/modeld.sock", "/a/modeld.sock"}) {
    const auto endpoint =
        ResolveEndpoint({.flag = "", .environment = text, .xdg_runtime_dir = "", .root = false});
    ASSERT_TRUE(endpoint.ok()) << text;
    EXPECT_EQ(endpoint->modeld, "/a/modeld.sock");
  }
}

TEST(Endpoint, WithoutADirectoryIsInTheWorkingDirectory) {
  const auto endpoint = ResolveEndpoint(
      {.flag = "modeld.sock", .environment = "", .xdg_runtime_dir = "", .root = false});
  EXPECT_EQ(endpoint->admin, "./admin.sock");
}

TEST(Endpoint, IsOneOfTheUsualPlacesWhereNobodyNamesIt) {
  const test::TempDir dir;
  dir.Write("modeld/modeld.sock", "");
  // Nobody runs a system daemon in a test; where somebody does, its socket is right for root too.
  const auto own = ResolveEndpoint(
      {.flag = "", .environment = "", .xdg_runtime_dir = dir.path(), .root = false});
  EXPECT_EQ(own->modeld, dir / "modeld/modeld.sock");
  const auto root =
      ResolveEndpoint({.flag = "", .environment = "", .xdg_runtime_dir = "", .root = true});
  EXPECT_EQ(root->modeld, "/run/modeld/modeld.sock");
}

TEST(Endpoint, OfAnotherSchemeIsRefused) {
  for (const char* text : {"http://localhost:80", "tcp://1.2.3.4:5", "unix://", "unix:"}) {
    const auto endpoint =
        ResolveEndpoint({.flag = text, .environment = "", .xdg_runtime_dir = "", .root = true});
    EXPECT_EQ(endpoint.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(Endpoint, ThatIsADirectoryIsRefused) {
  const test::TempDir dir;
  const auto endpoint =
      ResolveEndpoint({.flag = dir.path(), .environment = "", .xdg_runtime_dir = "", .root = true});
  EXPECT_EQ(endpoint.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace modeld::modelctl
