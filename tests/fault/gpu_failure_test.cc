// What goes wrong on a GPU beside dying processes: memory that others took, contexts that break,
// and a device that is gone. It costs what must be lost on that GPU; another GPU and the host go
// on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/checkpoint_writer.h"
#include "support/each_device.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

using ::testing::StartsWith;

// The kernel's name of modeld-agent-cuda.
constexpr char kAgents[] = " program=modeld-agent-cuda\n";

class FailingGpu : public OnEachDevice {
 protected:
  void Start() {
    StartDaemon();
    WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(16 << 20));
    WriteCheckpoint(daemon().root() + "/other.safetensors", LargeSpec(16 << 20, 16, 2));
    other_agent_ = DeviceOf(gpus()[1]).agent_pid();
    for (const std::string& device : {gpus()[1], std::string("host")}) {
      bystanders_.push_back(NewWorkerOn(device));
      ASSERT_THAT(bystanders_.back().Ask("acquire m.safetensors"), StartsWith("ok "));
    }
    checksum_ = bystanders_.back().Ask("checksum");
  }

  // What fails next on the GPU is then not its digest.
  void AwaitDigests() {
    ASSERT_TRUE(Eventually([&] {
      const auto list = RpcClient(daemon().socket()).List();
      return list.ok() && std::ranges::none_of(*list, [](const v1::Residency& residency) {
               return residency.digest().empty();
             });
    }));
  }

  void ExpectOthersUnharmed() {
    for (WorkerProcess& worker : bystanders_) {
      EXPECT_EQ(worker.Ask("state"), "state HELD");
      EXPECT_EQ(worker.Ask("checksum"), checksum_);
    }
    EXPECT_EQ(DeviceOf(gpus()[1]).agent_pid(), other_agent_);
    for (const std::string& device : {gpus()[1], std::string("host")}) {
      EXPECT_THAT(NewWorkerOn(device).Ask("acquire other.safetensors"), StartsWith("ok "));
    }
  }

  bool ComesBack(pid_t old_agent) {
    return Eventually([&] {
      const v1::Device now = Device();
      return now.available() && now.agent_pid() != old_agent;
    });
  }

  std::string checksum_;  // of m.safetensors

 private:
  std::vector<WorkerProcess> bystanders_;
  pid_t other_agent_ = 0;
};

TEST_P(FailingGpu, WhoseMemoryOthersTookRefusesAlthoughTheLedgerSaidYes) {
  Start();
  {
    const wire::UniqueFd taken = gpus().Occupy(0, gpus().FreeBytes(0) - (8 << 20));
    EXPECT_EQ(NewWorker().Ask("acquire m.safetensors"), "error BUDGET_EXCEEDED");
    EXPECT_EQ(Device().reserved_bytes() + Device().resident_bytes(), 0u);
    ExpectOthersUnharmed();
  }
  EXPECT_EQ(NewHolder().Ask("checksum"), checksum_);
}

TEST_P(FailingGpu, WithoutRoomForAWorkersContextCostsThatWorkerItsAcquireOnly) {
  gpus().Set("FAKE_CUDA_CONTEXT=64MiB");
  Start();
  WorkerProcess holder = NewHolder();
  {
    // What FreeBytes saw has another context in it, which is gone again.
    const wire::UniqueFd taken = gpus().Occupy(0, gpus().FreeBytes(0) + (32 << 20));
    EXPECT_EQ(NewWorker().Ask("acquire m.safetensors"), "error BUDGET_EXCEEDED");
    EXPECT_TRUE(Eventually([&] { return LeaseCount() == 3; })) << "its lease is left";
    EXPECT_EQ(holder.Ask("checksum"), checksum_);
  }
  EXPECT_EQ(NewHolder().Ask("checksum"), checksum_);
}

TEST_P(FailingGpu, ThatBreaksOneWorkersContextIsTheOthersAsBefore) {
  Start();
  WorkerProcess broken = NewHolder();
  WorkerProcess whole = NewHolder();
  const pid_t agent = Device().agent_pid();
  gpus().SetFaults("sticky " + device() +
                   " cudaErrorIllegalAddress pid=" + std::to_string(broken.pid()) + "\n");
  EXPECT_EQ(broken.Ask("checksum"), "error DEVICE_LOST");
  EXPECT_EQ(whole.Ask("checksum"), checksum_);
  // Its memory cannot be unmapped any more, but its lease ends, and with it the process' share.
  EXPECT_EQ(broken.Ask("release"), "released");
  broken.Finish();
  EXPECT_TRUE(Eventually([&] { return LeaseCount() == 3; }));
  EXPECT_EQ(NewHolder().Ask("checksum"), checksum_);
  EXPECT_EQ(Device().agent_pid(), agent);
  ExpectOthersUnharmed();
}

TEST_P(FailingGpu, ThatBreaksItsAgentsContextFailsItsLoadsAndGetsANewAgent) {
  Start();
  WorkerProcess holder = NewHolder();
  AwaitDigests();
  const pid_t agent = Device().agent_pid();
  gpus().SetFaults("sticky " + device() + " cudaErrorLaunchFailure" + kAgents);
  EXPECT_EQ(NewWorker().Ask("acquire other.safetensors"), "error DEVICE_LOST");
  gpus().SetFaults("");
  EXPECT_TRUE(ComesBack(agent));
  if (outlives_its_agent()) {
    EXPECT_EQ(holder.Ask("state"), "state HELD");
    EXPECT_EQ(holder.Ask("checksum"), checksum_);
  } else {
    EXPECT_TRUE(Eventually([&] { return holder.Ask("state") == "state LOST"; }));
  }
  EXPECT_THAT(NewWorker().Ask("acquire other.safetensors"), StartsWith("ok "));
  EXPECT_EQ(NewHolder().Ask("checksum"), checksum_);
  ExpectOthersUnharmed();
}

TEST_P(FailingGpu, ThatIsGoneIsUnavailableUntilItIsThereAgain) {
  Start();
  WorkerProcess holder = NewHolder();
  AwaitDigests();
  const pid_t agent = Device().agent_pid();
  gpus().SetFaults("gone " + device() + "\n");
  EXPECT_THAT(holder.Ask("checksum"), StartsWith("error DEVICE_"));
  RpcClient admin(daemon().socket("admin.sock"));
  v1::ModelSpec spec;
  spec.set_reference("other.safetensors");
  spec.set_device(device());
  EXPECT_EQ(wire::GetReason(admin.Preload(spec).status()), wire::Reason::kDeviceLost);
  EXPECT_TRUE(Eventually([&] { return !Device().available(); }));
  EXPECT_EQ(wire::GetReason(admin.Preload(spec).status()), wire::Reason::kDeviceUnavailable);
  EXPECT_GE(Device().notes_size(), 1);
  ExpectOthersUnharmed();
  gpus().SetFaults("");
  EXPECT_TRUE(ComesBack(agent));
  EXPECT_TRUE(admin.Preload(spec).ok());
  EXPECT_EQ(NewHolder().Ask("checksum"), checksum_);
}

INSTANTIATE_TEST_SUITE_P(Devices, FailingGpu,
                         testing::ValuesIn(Devices({DeviceKind::kVmm, DeviceKind::kIpc})),
                         DeviceKindName);

}  // namespace
}  // namespace modeld::test
