// The log as machines read it: of the daemon and of the agents that share its stderr.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

std::vector<nlohmann::json> Lines(const std::string& log) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(log);
  for (std::string line; std::getline(text, line);) {
    lines.push_back(nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false));
    EXPECT_TRUE(lines.back().is_object()) << line;
  }
  return lines;
}

TEST(LogFormat, IsJsonInEveryLineOfModeldAndItsAgents) {
  DaemonFixture daemon({.config = "log_level = \"debug\"\nlog_format = \"json\"\n"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/odd \"name\".safetensors", SmallSpec());
  RpcClient client(daemon.socket("admin.sock"));
  ASSERT_TRUE(client.Preload("odd \"name\".safetensors").ok());
  const pid_t agent = daemon.KillAgent();
  EXPECT_TRUE(Eventually([&] {
    const auto device = client.HostDevice();
    return device.ok() && device->available() && device->agent_pid() != agent;
  }));
  daemon.Stop();

  size_t of_modeld = 0;
  size_t of_agents = 0;
  size_t of_the_death = 0;
  bool names_the_file = false;
  for (const nlohmann::json& line : Lines(daemon.log())) {
    ASSERT_TRUE(line.contains("time") && line.contains("level") && line.contains("msg")) << line;
    for (const auto& value : line) EXPECT_TRUE(value.is_string()) << line;
    ++(line.contains("program") ? of_agents : of_modeld);
    if (line["level"] == "warn" || line["level"] == "error") {
      EXPECT_EQ(line["msg"], "agent died") << line;
      ++of_the_death;
    }
    names_the_file |= line.value("reference", "") == "odd \"name\".safetensors";
  }
  EXPECT_GT(of_modeld, 3u);
  EXPECT_GT(of_agents, 3u);
  EXPECT_TRUE(names_the_file);
  EXPECT_EQ(of_the_death, 1u) << "one failure is one line";
}

TEST(LogFormat, IsJsonForAStartThatFails) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const RunResult second = RunModeld(
      {"--config", "/dev/null", "--runtime-dir", daemon.runtime_dir()}, {"MODELD_LOG_FORMAT=json"});
  EXPECT_EQ(second.exit.value, 1);
  const auto lines = Lines(second.err);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back()["level"], "error");
  EXPECT_THAT(lines.back()["why"].get<std::string>(), ::testing::HasSubstr("serve"));
}

}  // namespace
}  // namespace modeld::test
