// Either side dies: the daemon, the agent, both.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

using ::testing::HasSubstr;

// Loads, and waits for the digest too: from then on nothing changes by itself.
v1::Residency Load(DaemonFixture& daemon, const std::string& name, uint64_t seed = 1) {
  WriteCheckpoint(daemon.root() + "/" + name, SmallSpec(seed));
  RpcClient client(daemon.socket("admin.sock"));
  const auto loaded = client.Preload(name);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(Eventually([&] {
    const auto list = client.List();
    return list.ok() && std::all_of(list->begin(), list->end(), [](const auto& residency) {
             return !residency.digest().empty();
           });
  }));
  return loaded.value_or(v1::Residency());
}

// Waits until the daemon's agent answers again.
bool AgentIsBack(DaemonFixture& daemon, pid_t old_agent) {
  RpcClient client(daemon.socket());
  return Eventually([&] {
    const auto device = client.HostDevice();
    return device.ok() && device->available() && device->agent_pid() != old_agent;
  });
}

TEST(SecondDaemon, RefusesAndNamesTheFirst) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const pid_t agent = daemon.agent_pid();
  const RunResult second =
      RunModeld({"--config", "/dev/null", "--runtime-dir", daemon.runtime_dir()});
  EXPECT_EQ(second.exit.value, 1);
  EXPECT_THAT(second.err, HasSubstr("process " + std::to_string(daemon.pid())));
  EXPECT_THAT(second.err, HasSubstr("--runtime-dir"));
  EXPECT_TRUE(RpcClient(daemon.socket()).IsServing());
  EXPECT_EQ(daemon.agent_pid(), agent);
  Load(daemon, "m.safetensors");
}

TEST(SecondDaemon, ServesBesideTheFirstInItsOwnDirectory) {
  DaemonFixture first;
  DaemonFixture second;
  ASSERT_TRUE(first.running());
  ASSERT_TRUE(second.running());
  Load(first, "m.safetensors");
  EXPECT_EQ(RpcClient(second.socket()).List()->size(), 0u);
}

TEST(KilledDaemon, IsFollowedByOneThatAdoptsWhatIsLoaded) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const v1::Residency first = Load(daemon, "a.safetensors", 1);
  const v1::Residency second = Load(daemon, "b.safetensors", 2);
  const pid_t agent = daemon.agent_pid();
  daemon.Kill(SIGKILL);
  EXPECT_EQ(daemon.agent_pid(), agent) << "the agent outlives its modeld";
  EXPECT_EQ(::access(daemon.socket().c_str(), F_OK), 0) << "sockets are stale now";

  daemon.Start();
  ASSERT_TRUE(daemon.running());
  EXPECT_EQ(daemon.agent_pid(), agent);
  // Known from the first answer on: nobody sees a daemon that has forgotten.
  const auto list = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 2u);
  for (const v1::Residency& residency : *list) {
    EXPECT_EQ(residency.state(), v1::Residency::READY);
    EXPECT_TRUE(residency.id() == first.id() || residency.id() == second.id());
  }
  // The same reference is the same memory: nothing is loaded again.
  EXPECT_EQ(Load(daemon, "a.safetensors", 1).references_size(), 1);
  const auto device = RpcClient(daemon.socket()).HostDevice();
  ASSERT_TRUE(device.ok());
  EXPECT_GE(device->resident_bytes(), first.size_bytes() + second.size_bytes());
}

TEST(KilledDaemon, IsFollowedAsOftenAsItTakes) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const std::string id = Load(daemon, "m.safetensors").id();
  const pid_t agent = daemon.agent_pid();
  const size_t fds = OpenFdCount(agent);
  for (int i = 0; i < 5; ++i) {
    daemon.Kill(SIGKILL);
    daemon.Start();
    ASSERT_TRUE(daemon.running());
    const auto list = RpcClient(daemon.socket()).List();
    ASSERT_TRUE(list.ok()) << list.status();
    ASSERT_EQ(list->size(), 1u);
    EXPECT_EQ(list->front().id(), id);
  }
  EXPECT_EQ(daemon.agent_pid(), agent);
  EXPECT_TRUE(Eventually([&] { return OpenFdCount(agent) <= fds; }))
      << OpenFdCount(agent) << " > " << fds;
}

TEST(KilledDaemon, LeavesAnAgentThatEndsWhenNobodyFollows) {
  DaemonFixture daemon({.config = "agent_grace = \"200ms\"\n"});
  ASSERT_TRUE(daemon.running());
  Load(daemon, "m.safetensors");
  daemon.Kill(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return daemon.Leftovers().empty(); }));
  daemon.Start();
  ASSERT_TRUE(daemon.running());
  EXPECT_TRUE(RpcClient(daemon.socket()).List()->empty());
  Load(daemon, "m.safetensors");
}

TEST(KilledAgent, IsReplacedWithoutLosingWhatIsReady) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const std::string id = Load(daemon, "m.safetensors").id();
  const pid_t agent = daemon.KillAgent();
  ASSERT_TRUE(AgentIsBack(daemon, agent));
  const auto list = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().id(), id);
  EXPECT_EQ(list->front().state(), v1::Residency::READY);
  // The new one loads, and frees what the old one had loaded.
  Load(daemon, "other.safetensors", 2);
  RpcClient admin(daemon.socket("admin.sock"));
  EXPECT_TRUE(admin.Evict(id).ok());
  const auto events = admin.Events(100);
  ASSERT_TRUE(events.ok());
  EXPECT_TRUE(std::any_of(events->begin(), events->end(), [&](const v1::Event& event) {
    return event.type() == v1::Event::AGENT_DIED;
  }));
}

TEST(KilledAgent, IsReplacedAgainAndAgain) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const std::string id = Load(daemon, "m.safetensors").id();
  const size_t fds = OpenFdCount(daemon.pid());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(AgentIsBack(daemon, daemon.KillAgent()));
  const auto list = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().id(), id);
  EXPECT_TRUE(Eventually([&] { return OpenFdCount(daemon.pid()) <= fds + 2; }))
      << OpenFdCount(daemon.pid()) << " > " << fds;
}

TEST(KilledAgent, AndDaemonTogetherStartAnew) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  Load(daemon, "m.safetensors");
  daemon.Signal(SIGSTOP);  // does not notice
  daemon.KillAgent();
  daemon.Kill(SIGKILL);
  daemon.Start();
  ASSERT_TRUE(daemon.running());
  EXPECT_TRUE(RpcClient(daemon.socket()).List()->empty());
  Load(daemon, "m.safetensors");
}

// What is found answers no more: it is on its way out.
TEST(KilledAgent, IsReplacedAlsoWhileTheNextDaemonGreetsIt) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const pid_t agent = daemon.agent_pid();
  ASSERT_EQ(::kill(agent, SIGSTOP), 0);  // its backlog still takes connections
  daemon.Kill(SIGKILL);
  const size_t before = daemon.log().size();
  std::thread killer([&] {
    EXPECT_TRUE(Eventually(
        [&] { return daemon.log().find("msg=\"daemon started\"", before) != std::string::npos; }));
    ::kill(agent, SIGKILL);
  });
  daemon.Start();
  killer.join();
  ASSERT_TRUE(daemon.running());
  EXPECT_NE(daemon.agent_pid(), agent);
  Load(daemon, "m.safetensors");
}

TEST(StoppedDaemon, StartsAnewInTheSameDirectory) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  Load(daemon, "m.safetensors");
  ASSERT_TRUE(daemon.Stop()->ok());
  daemon.Start();
  ASSERT_TRUE(daemon.running());
  EXPECT_TRUE(RpcClient(daemon.socket()).List()->empty());
  Load(daemon, "m.safetensors");
}

}  // namespace
}  // namespace modeld::test
