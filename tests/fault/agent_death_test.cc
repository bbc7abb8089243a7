// kill -9 of the agent, and of modeld, under real workers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/worker_process.h"

namespace modeld::test {
namespace {

using ::testing::AnyOf;
using ::testing::StartsWith;

bool AgentAnswers(DaemonFixture& daemon, pid_t old_agent) {
  return Eventually([&] {
    const auto device = RpcClient(daemon.socket()).HostDevice();
    return device.ok() && device->available() && device->agent_pid() != old_agent;
  });
}

TEST(KilledAgent, FailsTheLoadInFlightWithAReasonAndLoadsItTheNextTime) {
  DaemonFixture daemon({.host_capacity = "2GiB"});
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(1 << 30));
  WorkerProcess worker(daemon.endpoint());
  worker.Send("acquire m.safetensors");
  RpcClient client(daemon.socket());
  ASSERT_TRUE(Eventually([&] {
    const auto list = client.List();
    return list.ok() && !list->empty() && list->front().state() == v1::Residency::LOADING;
  }));
  const pid_t agent = daemon.KillAgent();
  EXPECT_EQ(worker.Receive(), "error DEVICE_UNAVAILABLE");
  ASSERT_TRUE(AgentAnswers(daemon, agent));
  EXPECT_THAT(worker.Ask("acquire m.safetensors"), StartsWith("ok "));
}

TEST(KilledAgent, LeavesWhatIsResidentUsableAndAcquirable) {
  DaemonFixture daemon;
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess early(daemon.endpoint());
  const std::string held = early.Ask("acquire m.safetensors");
  ASSERT_THAT(held, StartsWith("ok "));
  const std::string checksum = early.Ask("checksum");
  const pid_t agent = daemon.KillAgent();
  EXPECT_EQ(early.Ask("checksum"), checksum);
  EXPECT_EQ(early.Ask("state"), "state HELD");
  WorkerProcess late(daemon.endpoint());
  EXPECT_EQ(late.Ask("acquire m.safetensors"), held);
  EXPECT_EQ(late.Ask("checksum"), checksum);
  ASSERT_TRUE(AgentAnswers(daemon, agent));
  // The new agent has it: once nobody holds it, an eviction gives the bytes back.
  early.Finish();
  late.Finish();
  RpcClient admin(daemon.socket("admin.sock"));
  EXPECT_TRUE(Eventually([&] { return admin.Evict("m.safetensors").ok(); }));
  EXPECT_EQ(admin.HostDevice()->resident_bytes(), 0u);
}

TEST(KilledDaemon, LeavesWorkersRunningAndTheyTakeTheirLeasesAgain) {
  DaemonFixture daemon;
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess worker(daemon.endpoint());
  const std::string held = worker.Ask("acquire m.safetensors");
  ASSERT_THAT(held, StartsWith("ok "));
  const std::string checksum = worker.Ask("checksum");
  daemon.Kill(SIGKILL);
  EXPECT_EQ(worker.Ask("checksum"), checksum);
  EXPECT_THAT(worker.Ask("state"), AnyOf("state RECONNECTING", "state HELD"));
  daemon.Start();
  ASSERT_TRUE(daemon.running());
  EXPECT_TRUE(Eventually([&] { return worker.Ask("state") == "state HELD"; }));
  EXPECT_EQ(worker.Ask("checksum"), checksum);
  const auto list = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().lease_count(), 1u);
  EXPECT_THAT(held, StartsWith("ok " + list->front().id()));
}

}  // namespace
}  // namespace modeld::test
