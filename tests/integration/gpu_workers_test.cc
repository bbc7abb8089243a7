// Workers in processes of their own, linked against libmodeld, on the device memory of one GPU. The
// GPUs are tests/fake_cudart's, whose device memory a process can read in place.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/checkpoint_writer.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/test_gpus.h"
#include "support/worker_process.h"
#include "wire/segment.h"

namespace modeld::test {
namespace {

using ::testing::StartsWith;

// Both ways for a segment to leave its agent.
class GpuWorkersTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr uint64_t kContextBytes = 16 << 20;

  GpuWorkersTest() : daemon_(WithContexts(gpus_).For({.config = Export(GetParam())})) {
    WriteCheckpoint(daemon_.root() + "/m.safetensors", SmallSpec());
  }
  static TestGpus& WithContexts(TestGpus& gpus) {
    gpus.Set("FAKE_CUDA_CONTEXT=" + std::to_string(kContextBytes));
    return gpus;
  }
  static std::string Export(const std::string& kind) { return "gpu_export = [\"" + kind + "\"]\n"; }
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

  TestGpus gpus_;
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

TEST_P(GpuWorkersTest, TakeOneCopyOfTheWeightsAndAContextEach) {
  constexpr uint64_t kWeights = 64 << 20;
  WriteCheckpoint(daemon_.root() + "/large.safetensors", LargeSpec(kWeights));
  const uint64_t idle = gpus_.FreeBytes(0);  // with the agent's context
  std::vector<WorkerProcess> workers;
  for (int i = 0; i < 3; ++i) {
    workers.push_back(WorkerOn(gpus_[0]));
    ASSERT_THAT(workers.back().Ask("acquire large.safetensors"), StartsWith("ok "));
  }
  // What the agent's ledger says is what the driver says.
  const uint64_t resident = RpcClient(daemon_.socket()).Device(gpus_[0])->resident_bytes();
  EXPECT_GE(resident, kWeights);
  EXPECT_LE(resident, kWeights + wire::kSegmentUnitBytes);
  EXPECT_EQ(idle - gpus_.FreeBytes(0), resident + 3 * kContextBytes);
  for (WorkerProcess& worker : workers) worker.Finish();
  EXPECT_EQ(idle - gpus_.FreeBytes(0), resident);
}

TEST_P(GpuWorkersTest, TakeTheirLeasesAgainFromANewModeldWithoutAnotherCopy) {
  WorkerProcess worker = Holder(gpus_[0]);
  const std::string before = worker.Ask("checksum");
  const size_t allocations = Allocations();
  daemon_.ExpectOrphans();
  daemon_.Kill(SIGKILL);
  daemon_.Start();
  EXPECT_TRUE(Eventually([&] { return Leases() == 1; }));
  EXPECT_TRUE(Eventually([&] { return worker.Ask("state") == "state HELD"; }));
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

INSTANTIATE_TEST_SUITE_P(Exports, GpuWorkersTest, testing::Values("vmm", "ipc"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace modeld::test
