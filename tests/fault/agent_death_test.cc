// kill -9 of the agent, and of modeld, under real workers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/checkpoint_writer.h"
#include "support/each_device.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

using ::testing::AnyOf;
using ::testing::StartsWith;

class KilledAgent : public OnEachDevice {};
class KilledAgentWithLastingMemory : public OnEachDevice {};
class KilledAgentWithItsMemory : public OnEachDevice {};
class KilledDaemon : public OnEachDevice {};

TEST_P(KilledAgent, FailsTheLoadInFlightWithAReasonAndLoadsItTheNextTime) {
  StartDaemon();
  const uint64_t free = on_gpu() ? gpus().FreeBytes(0) : 0;
  WriteSlowCheckpoint();
  WorkerProcess worker = NewWorker();
  StopAgentInLoad(worker);
  ReplaceAgent();
  EXPECT_EQ(worker.Receive(), "error DEVICE_UNAVAILABLE");
  EXPECT_EQ(Device().reserved_bytes() + Device().resident_bytes(), 0u);
  if (on_gpu()) {
    EXPECT_NEAR(gpus().FreeBytes(0), free, gpus().SlackBytes()) << "something of the half is left";
    if (gpus().simulated()) gpus().SetFaults("");
  }
  EXPECT_THAT(worker.Ask("acquire m.safetensors"), StartsWith("ok "));
}

TEST_P(KilledAgent, ThatWasIdleLosesWhatNobodyHeldOnlyWhereMemoryEndsWithIt) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess early = NewHolder();
  const std::string checksum = early.Ask("checksum");
  early.Finish();
  ASSERT_TRUE(Eventually([&] { return LeaseCount() == 0; }));
  ReplaceAgent();
  WorkerProcess late = NewHolder();
  EXPECT_EQ(late.Ask("checksum"), checksum);
  EXPECT_EQ(CountEvents(v1::Event::LOAD_STARTED), outlives_its_agent() ? 1u : 2u);
}

TEST_P(KilledAgentWithLastingMemory, LeavesWhatIsResidentUsableAndAcquirable) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(16 << 20));
  const uint64_t free = on_gpu() ? gpus().FreeBytes(0) : 0;
  WorkerProcess early = NewWorker();
  const std::string held = early.Ask("acquire m.safetensors");
  ASSERT_THAT(held, StartsWith("ok "));
  const std::string checksum = early.Ask("checksum");
  const pid_t agent = daemon().KillAgent(device());
  EXPECT_EQ(early.Ask("checksum"), checksum);
  EXPECT_EQ(early.Ask("state"), "state HELD");
  WorkerProcess late = NewWorker();
  EXPECT_EQ(late.Ask("acquire m.safetensors"), held);
  EXPECT_EQ(late.Ask("checksum"), checksum);
  ASSERT_TRUE(Eventually([&] { return Device().available() && Device().agent_pid() != agent; }));
  // The new agent has it: once nobody holds it, an eviction gives the bytes back.
  early.Finish();
  late.Finish();
  RpcClient admin(daemon().socket("admin.sock"));
  EXPECT_TRUE(Eventually([&] { return admin.Evict("m.safetensors").ok(); }));
  EXPECT_EQ(Device().resident_bytes(), 0u);
  if (on_gpu()) {
    EXPECT_NEAR(gpus().FreeBytes(0), free, gpus().SlackBytes());
  }
}

TEST_P(KilledAgentWithItsMemory, IsToldToTheHoldersAndTheNextAcquireLoadsAnew) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess holder = NewHolder();
  WorkerProcess bystander = NewWorkerOn("host");
  ASSERT_THAT(bystander.Ask("acquire m.safetensors"), StartsWith("ok "));
  const std::string checksum = holder.Ask("checksum");
  daemon().KillAgent(device());
  EXPECT_TRUE(Eventually([&] { return holder.Ask("state") == "state LOST"; }));
  EXPECT_EQ(bystander.Ask("state"), "state HELD");
  // Also in the process that held what is lost.
  EXPECT_THAT(holder.Ask("acquire m.safetensors"), StartsWith("ok "));
  EXPECT_EQ(holder.Ask("checksum"), checksum);
}

TEST_P(KilledDaemon, LeavesWorkersRunningAndTheyTakeTheirLeasesAgain) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess worker = NewWorker();
  const std::string held = worker.Ask("acquire m.safetensors");
  ASSERT_THAT(held, StartsWith("ok "));
  const std::string checksum = worker.Ask("checksum");
  daemon().ExpectOrphans();
  daemon().Kill(SIGKILL);
  EXPECT_EQ(worker.Ask("checksum"), checksum);
  EXPECT_THAT(worker.Ask("state"), AnyOf("state RECONNECTING", "state HELD"));
  daemon().Start();
  ASSERT_TRUE(daemon().running());
  EXPECT_TRUE(Eventually([&] { return worker.Ask("state") == "state HELD"; }));
  EXPECT_EQ(worker.Ask("checksum"), checksum);
  const auto list = RpcClient(daemon().socket()).List();
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().lease_count(), 1u);
  EXPECT_THAT(held, StartsWith("ok " + list->front().id()));
}

INSTANTIATE_TEST_SUITE_P(Devices, KilledAgent, testing::ValuesIn(EachDevice()), DeviceKindName);
INSTANTIATE_TEST_SUITE_P(Devices, KilledAgentWithLastingMemory,
                         testing::ValuesIn(Devices({DeviceKind::kHost, DeviceKind::kVmm})),
                         DeviceKindName);
INSTANTIATE_TEST_SUITE_P(Devices, KilledAgentWithItsMemory,
                         testing::ValuesIn(Devices({DeviceKind::kIpc})), DeviceKindName);
INSTANTIATE_TEST_SUITE_P(Devices, KilledDaemon, testing::ValuesIn(EachDevice()), DeviceKindName);

}  // namespace
}  // namespace modeld::test
