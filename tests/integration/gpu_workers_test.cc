// Workers in processes of their own, linked against libmodeld, on the device memory of one GPU. The
// GPUs are tests/fake_cudart's, whose device memory a process can read in place.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/checkpoint_writer.h"
#include "support/fake_gpus.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/worker_process.h"

namespace modeld::test {
namespace {

using ::testing::StartsWith;

// Both ways for a segment to leave its agent.
class GpuWorkersTest : public testing::TestWithParam<std::string> {
 protected:
  GpuWorkersTest() : daemon_(gpus_.For({.config = "gpu_export = [\"" + GetParam() + "\"]\n"})) {
    WriteCheckpoint(daemon_.root() + "/m.safetensors", SmallSpec());
  }
  void SetUp() override { ASSERT_TRUE(daemon_.running()); }

  WorkerProcess WorkerOn(const std::string& device) {
    auto environment = gpus_.Environment();
    environment.push_back("MODELD_TEST_DEVICE=" + device);
    return WorkerProcess(daemon_.endpoint(), environment);
  }
  // One that holds the model.
  WorkerProcess Holder(const std::string& device) {
    WorkerProcess worker = WorkerOn(device);
    EXPECT_THAT(worker.Ask("acquire m.safetensors"), StartsWith("ok "));
    return worker;
  }
  // How often memory of the GPU has been allocated, by anyone.
  size_t Allocations() const {
    return gpus_.CountEvents((is_vmm() ? "create " : "malloc ") + gpus_[0]);
  }
  bool is_vmm() const { return GetParam() == "vmm"; }
  size_t Leases() {
    const auto info = RpcClient(daemon_.socket()).ServerInfo();
    return info.ok() ? info->lease_count() : 0;
  }

  FakeGpus gpus_;
  DaemonFixture daemon_;
};

TEST_P(GpuWorkersTest, ShareOneCopyThatHasTheBytesOfTheFile) {
  WorkerProcess on_host = Holder("host");
  const std::string expected = on_host.Ask("checksum");
  const size_t before = Allocations();
  const size_t contexts_elsewhere = gpus_.CountEvents("context_created " + gpus_[1]);
  std::vector<WorkerProcess> workers;
  for (const std::string& device : {gpus_[0], std::string("cuda:0"), std::string("cuda")}) {
    workers.push_back(Holder(device));
  }
  for (WorkerProcess& worker : workers) EXPECT_EQ(worker.Ask("checksum"), expected);
  EXPECT_EQ(Allocations(), before + 1);
  EXPECT_EQ(gpus_.CountEvents("context_created " + gpus_[1]), contexts_elsewhere);
  EXPECT_EQ(RpcClient(daemon_.socket()).List()->size(), 2u);
}

TEST_P(GpuWorkersTest, OneThatIsKilledLosesItsLeaseAndNobodyElseNotices) {
  WorkerProcess first = Holder(gpus_[0]);
  WorkerProcess second = Holder(gpus_[0]);
  const std::string before = second.Ask("checksum");
  first.Kill();
  EXPECT_TRUE(Eventually([&] { return Leases() == 1; }, std::chrono::seconds(5)));
  EXPECT_EQ(second.Ask("checksum"), before);
}

TEST_P(GpuWorkersTest, GoOnWhenTheirAgentIsKilledOrAreToldThatTheMemoryIsLost) {
  WorkerProcess worker = Holder(gpus_[0]);
  const std::string before = worker.Ask("checksum");
  ASSERT_EQ(::kill(RpcClient(daemon_.socket()).Device(gpus_[0])->agent_pid(), SIGKILL), 0);
  if (is_vmm()) {
    EXPECT_THAT(WorkerOn(gpus_[0]).Ask("acquire m.safetensors"), StartsWith("ok "));
    EXPECT_EQ(worker.Ask("state"), "state HELD");
    EXPECT_EQ(worker.Ask("checksum"), before);
    return;
  }
  EXPECT_TRUE(Eventually([&] { return worker.Ask("state") == "state LOST"; }));
  // The next acquire loads anew, also in the process that held what is lost.
  EXPECT_THAT(worker.Ask("acquire m.safetensors"), StartsWith("ok "));
  EXPECT_EQ(worker.Ask("checksum"), before);
}

TEST_P(GpuWorkersTest, TakeTheirLeasesAgainFromANewModeldWithoutAnotherCopy) {
  WorkerProcess worker = Holder(gpus_[0]);
  const std::string before = worker.Ask("checksum");
  const size_t allocations = Allocations();
  daemon_.ExpectOrphans();
  daemon_.Kill(SIGKILL);
  daemon_.Start();
  EXPECT_TRUE(Eventually([&] { return Leases() == 1; }));
  EXPECT_EQ(worker.Ask("state"), "state HELD");
  EXPECT_EQ(worker.Ask("checksum"), before);
  EXPECT_EQ(Allocations(), allocations);
}

TEST_P(GpuWorkersTest, ThatLetGoGiveTheMemoryBackToEvictions) {
  WorkerProcess worker = Holder(gpus_[0]);
  EXPECT_EQ(worker.Ask("release"), "released");
  EXPECT_TRUE(Eventually([&] { return Leases() == 0; }));
  RpcClient operations(daemon_.socket("admin.sock"));
  ASSERT_TRUE(operations.Evict("m.safetensors").ok());
  const auto device = operations.Device(gpus_[0]);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(device->resident_bytes(), 0u);
  EXPECT_EQ(device->notes_size(), 0) << device->DebugString();
}

TEST_P(GpuWorkersTest, CannotChangeWhatIsMappedReadOnly) {
  if (!is_vmm()) GTEST_SKIP() << "CUDA IPC has no read-only mappings";
  WorkerProcess careful = Holder(gpus_[0]);
  const std::string before = careful.Ask("checksum");
  WorkerProcess careless = Holder(gpus_[0]);
  careless.Send("store");
  const auto end = careless.Wait();
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(end->signaled) << end->Text();
  EXPECT_EQ(careful.Ask("checksum"), before);
}

INSTANTIATE_TEST_SUITE_P(Exports, GpuWorkersTest, testing::Values("vmm", "ipc"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace modeld::test
