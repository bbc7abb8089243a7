// A real modeld with agents on GPUs, up to what a worker is handed. The GPUs are
// tests/fake_cudart's.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/lease_holder.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/test_gpus.h"
#include "wire/segment.h"

namespace modeld::test {
namespace {

using ::testing::HasSubstr;
using wire::Reason;

v1::ModelSpec On(const std::string& device, bool keep_host = false) {
  v1::ModelSpec spec;
  spec.set_reference("m.safetensors");
  spec.set_device(device);
  spec.set_keep_host(keep_host);
  return spec;
}

// A daemon with two GPUs and a checkpoint.
class GpuTest : public testing::Test {
 protected:
  void Start(DaemonOptions options = {}) {
    daemon_ = std::make_unique<DaemonFixture>(gpus_.For(std::move(options)));
    ASSERT_TRUE(daemon_->running());
    WriteCheckpoint(daemon_->root() + "/m.safetensors", SmallSpec());
  }

  absl::StatusOr<v1::Residency> Preload(const v1::ModelSpec& spec) {
    return RpcClient(daemon_->socket("admin.sock")).Preload(spec);
  }
  v1::Device Device(const std::string& id) {
    return RpcClient(daemon_->socket()).Device(id).value_or(v1::Device());
  }
  absl::StatusOr<v1::EvictResponse> Evict(const std::string& id) {
    return RpcClient(daemon_->socket("admin.sock")).Evict(id);
  }
  // Empty until it is known.
  std::string Digest(const std::string& residency_id) {
    const auto residencies = RpcClient(daemon_->socket()).List();
    for (const v1::Residency& residency : residencies.value_or(std::vector<v1::Residency>())) {
      if (residency.id() == residency_id) return residency.digest();
    }
    return "";
  }
  std::unique_ptr<LeaseHolder> Connect() { return *LeaseHolder::Connect(daemon_->runtime_dir()); }
  // kill -9 for the agent of a GPU; returns when another one answers.
  void KillAgent(const std::string& uuid) {
    const pid_t agent = Device(uuid).agent_pid();
    ASSERT_EQ(::kill(agent, SIGKILL), 0);
    EXPECT_TRUE(Eventually([&] {
      const v1::Device device = Device(uuid);
      return device.available() && device.agent_pid() != agent;
    }));
  }

  TestGpus gpus_;
  std::unique_ptr<DaemonFixture> daemon_;
};

TEST_F(GpuTest, EveryGpuIsADeviceWithItsBudgetAndItsExport) {
  Start({.config = "gpu_capacity = [\"50%\", \"" + gpus_[1] + "=256MiB\"]\n"});
  const v1::Device first = Device(gpus_[0]);
  EXPECT_EQ(first.kind(), v1::Device::CUDA);
  EXPECT_EQ(first.index(), 0u);
  EXPECT_EQ(first.memory_bytes(), uint64_t{1} << 30);
  EXPECT_EQ(first.capacity_bytes(), uint64_t{1} << 29);
  EXPECT_EQ(first.export_(), "vmm");
  EXPECT_TRUE(first.available());
  EXPECT_EQ(Device(gpus_[1]).capacity_bytes(), uint64_t{256} << 20);
  EXPECT_EQ(Device(gpus_[1]).index(), 1u);
  // Each agent has a context on its own GPU and on no other.
  EXPECT_EQ(gpus_.CountEvents("context_created " + gpus_[0]), 1u);
  EXPECT_EQ(gpus_.CountEvents("context_created " + gpus_[1]), 1u);
}

TEST_F(GpuTest, WithoutVirtualMemoryAutoTakesIpcAndSaysWhy) {
  DaemonOptions options;
  options.env = {"FAKE_CUDA_VMM=0"};
  Start(std::move(options));
  EXPECT_EQ(Device(gpus_[0]).export_(), "ipc");
  EXPECT_THAT(Device(gpus_[0]).export_note(), HasSubstr("the driver has no cuMem"));
  const auto granted = Connect()->Acquire(On(gpus_[0]));
  ASSERT_TRUE(granted.ok()) << granted.status();
  EXPECT_EQ(granted->segments(0).kind(), v1::Segment::CUDA_IPC);
  EXPECT_EQ(granted->segments(0).ipc_handle().size(), wire::kIpcHandleBytes);
}

TEST_F(GpuTest, ASettingForOneGpuIsThatGpus) {
  Start({.config = "gpu_export = [\"" + gpus_[1] + "=ipc\"]\n"});
  EXPECT_EQ(Device(gpus_[0]).export_(), "vmm");
  EXPECT_EQ(Device(gpus_[1]).export_(), "ipc");
}

TEST_F(GpuTest, GpusNoneStartsNoAgentForAny) {
  Start({.config = "gpus = \"none\"\n"});
  EXPECT_EQ(Device(gpus_[0]).id(), "");
  EXPECT_EQ(wire::GetReason(Preload(On(gpus_[0])).status()), Reason::kDeviceUnavailable);
  EXPECT_EQ(gpus_.CountEvents("context_created " + gpus_[0]), 0u);
}

// Whatever is missing: modeld runs, the host tier works, and `modelctl devices` has the words.
TEST_F(GpuTest, WithoutAUsableGpuTheHostIsServedAndTheDevicesSayWhatIsMissing) {
  struct Case {
    std::string variable;
    std::string faults;
    std::string words;
  };
  const Case cases[] = {
      {"FAKE_CUDA_DRIVER=none", "", "there is no NVIDIA driver"},
      {"FAKE_CUDA_DRIVER=11080", "", "the driver is too old: it supports CUDA 11.8"},
      {"CUDA_VISIBLE_DEVICES=", "", "CUDA_VISIBLE_DEVICES= in modeld's environment hides all"},
      {"", "fail cudaGetDeviceCount cudaErrorNoDevice\n", "neither its kernel module nor"},
      {"", "fail cudaGetDeviceCount cudaErrorSystemNotReady\n", "cudaErrorSystemNotReady"},
      {"FAKE_CUDA_DEVICES=MIG-5d7a0a6c-1a2b-4c3d-8e4f-0123456789ab:1GiB", "",
       "is a slice of a GPU: modeld uses whole GPUs only"},
  };
  for (const Case& missing : cases) {
    SCOPED_TRACE(missing.words);
    gpus_.SetFaults(missing.faults);
    DaemonOptions options;
    if (!missing.variable.empty()) options.env = {missing.variable};
    Start(std::move(options));
    EXPECT_TRUE(Preload(On("host")).ok());
    EXPECT_EQ(wire::GetReason(Preload(On(gpus_[0])).status()), Reason::kDeviceUnavailable);
    grpc::ClientContext context;
    v1::ListDevicesResponse devices;
    ASSERT_TRUE(RpcClient(daemon_->socket()).residency().ListDevices(&context, {}, &devices).ok());
    EXPECT_EQ(devices.devices_size(), 1);
    ASSERT_EQ(devices.gpu_notes_size(), 1) << devices.DebugString();
    EXPECT_THAT(devices.gpu_notes(0), HasSubstr(missing.words));
  }
}

TEST_F(GpuTest, AWholeGpuIsServedBesideASlicedOne) {
  DaemonOptions options;
  options.env = {"FAKE_CUDA_DEVICES=MIG-5d7a0a6c-1a2b-4c3d-8e4f-0123456789ab:1GiB," + gpus_[0] +
                 ":1GiB"};
  Start(std::move(options));
  EXPECT_TRUE(Device(gpus_[0]).available());
  EXPECT_EQ(Device(gpus_[0]).index(), 0u);
  EXPECT_TRUE(Preload(On(gpus_[0])).ok());
}

TEST_F(GpuTest, TheWeightsAreTheSameOnEveryDevice) {
  Start();
  std::vector<std::string> ids;
  for (const std::string& device : {std::string("host"), gpus_[0], gpus_[1]}) {
    const auto residency = Preload(On(device));
    ASSERT_TRUE(residency.ok()) << residency.status();
    ids.push_back(residency->id());
  }
  ASSERT_TRUE(Eventually([&] { return !Digest(ids[2]).empty() && !Digest(ids[1]).empty(); }));
  EXPECT_EQ(Digest(ids[1]), Digest(ids[0]));
  EXPECT_EQ(Digest(ids[2]), Digest(ids[0]));
}

TEST_F(GpuTest, NothingIsCopiedToAGpuFromMemoryThatIsNotPinned) {
  Start();
  gpus_.SetFaults("fail cudaMemcpy cudaErrorInvalidValue\n");  // reading back for the digest
  const size_t before = gpus_.CountEvents("pageable_copy");
  ASSERT_TRUE(Preload(On(gpus_[0])).ok());
  EXPECT_GT(gpus_.CountEvents("h2d"), 0u);
  EXPECT_EQ(gpus_.CountEvents("pageable_copy"), before);
}

TEST_F(GpuTest, ACopyOnTheHostIsTheSourceAndIsIdleAfterwards) {
  Start();
  ASSERT_TRUE(Preload(On("host")).ok());
  const auto loaded = Preload(On(gpus_[0]));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const v1::Device host = Device("host");
  EXPECT_EQ(host.evictable_bytes(), host.resident_bytes());
}

TEST_F(GpuTest, KeepHostLeavesACopyOnTheHost) {
  Start();
  ASSERT_TRUE(Preload(On(gpus_[0], /*keep_host=*/true)).ok());
  const auto residencies = RpcClient(daemon_->socket()).List();
  ASSERT_TRUE(residencies.ok());
  EXPECT_EQ(residencies->size(), 2u);
  EXPECT_GT(Device("host").resident_bytes(), 0u);
}

TEST_F(GpuTest, VirtualMemoryOutlivesItsAgentAndIsHandedToTheNext) {
  Start();
  const auto worker = Connect();
  const auto granted = worker->Acquire(On(gpus_[0]));
  ASSERT_TRUE(granted.ok()) << granted.status();
  EXPECT_EQ(granted->segments(0).kind(), v1::Segment::CUDA_VMM);
  KillAgent(gpus_[0]);
  const auto another = Connect()->Acquire(On(gpus_[0]));
  ASSERT_TRUE(another.ok()) << another.status();
  EXPECT_EQ(another->residency_id(), granted->residency_id());
  EXPECT_TRUE(Eventually([&] { return !Digest(granted->residency_id()).empty(); }));
}

TEST_F(GpuTest, IpcMemoryIsLostWithItsAgentAndLoadedAnew) {
  Start({.config = "gpu_export = [\"ipc\"]\n"});
  const auto worker = Connect();
  const auto granted = worker->Acquire(On(gpus_[0]));
  ASSERT_TRUE(granted.ok()) << granted.status();
  KillAgent(gpus_[0]);
  absl::StatusOr<v1::AcquireUpdate> update = worker->Next();
  while (update.ok() && !update->has_lost()) update = worker->Next();
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->lost().reason(), "DEVICE_LOST");
  EXPECT_EQ(wire::GetReason(worker->Next().status()), Reason::kDeviceLost);
  const auto another = Connect()->Acquire(On(gpus_[0]));
  ASSERT_TRUE(another.ok()) << another.status();
  EXPECT_NE(another->residency_id(), granted->residency_id());
}

TEST_F(GpuTest, AStickyErrorCostsTheLoadsOfOneDeviceAndItsAgentIsReplaced) {
  Start();
  const auto elsewhere = Connect();
  ASSERT_TRUE(elsewhere->Acquire(On(gpus_[1])).ok());
  const pid_t agent = Device(gpus_[0]).agent_pid();
  const pid_t other_agent = Device(gpus_[1]).agent_pid();
  gpus_.SetFaults("sticky " + gpus_[0] + " cudaErrorIllegalAddress\n");
  EXPECT_EQ(wire::GetReason(Preload(On(gpus_[0])).status()), Reason::kDeviceLost);
  gpus_.SetFaults("");
  EXPECT_TRUE(Eventually([&] {
    const v1::Device device = Device(gpus_[0]);
    return device.available() && device.agent_pid() != agent;
  }));
  const auto loaded = Preload(On(gpus_[0]));
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Device(gpus_[1]).agent_pid(), other_agent);
  ASSERT_TRUE(Preload(On("host")).ok());
}

TEST_F(GpuTest, NoMemoryAlthoughTheLedgerSaidYesIsBudgetExceeded) {
  Start();
  gpus_.SetFaults("fail cuMemCreate CUDA_ERROR_OUT_OF_MEMORY\n");
  const absl::Status refused = Preload(On(gpus_[0])).status();
  EXPECT_EQ(wire::GetReason(refused), Reason::kBudgetExceeded);
  EXPECT_THAT(wire::GetErrorInfo(refused).hint, HasSubstr("nvidia-smi"));
  EXPECT_EQ(Device(gpus_[0]).reserved_bytes(), 0u);
  gpus_.SetFaults("");
  EXPECT_TRUE(Preload(On(gpus_[0])).ok());
}

TEST_F(GpuTest, EvictedMemoryComesBackAndWhatDoesNotIsReported) {
  Start();
  const auto loaded = Preload(On(gpus_[0]));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_TRUE(Evict(loaded->id()).ok());
  EXPECT_EQ(Device(gpus_[0]).notes_size(), 0);

  // Somebody takes the descriptors and keeps them after the lease.
  const auto worker = Connect();
  const auto granted = worker->Acquire(On(gpus_[0]));
  ASSERT_TRUE(granted.ok()) << granted.status();
  v1::AttachClientMessage question;
  question.mutable_get_lease_fds()->set_lease_id(granted->lease_id());
  ASSERT_TRUE(worker->attach().Send(question.SerializeAsString()).ok());
  const auto kept = worker->attach().Receive();
  ASSERT_TRUE(kept.ok()) << kept.status();
  worker->LetGo();
  ASSERT_TRUE(Eventually([&] { return Evict(granted->residency_id()).ok(); }));
  ASSERT_EQ(Device(gpus_[0]).notes_size(), 1);
  EXPECT_THAT(Device(gpus_[0]).notes(0), HasSubstr("not free yet"));
}

TEST_F(GpuTest, ANewModeldAdoptsWhatTheAgentsKept) {
  for (const char* kind : {"vmm", "ipc"}) {
    Start({.config = std::string("gpu_export = [\"") + kind + "\"]\n"});
    const auto loaded = Preload(On(gpus_[0]));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const pid_t agent = Device(gpus_[0]).agent_pid();
    daemon_->ExpectOrphans();
    daemon_->Kill(SIGKILL);
    daemon_->Start();
    ASSERT_TRUE(daemon_->running());
    EXPECT_EQ(Device(gpus_[0]).agent_pid(), agent);
    const auto granted = Connect()->Acquire(On(gpus_[0]));
    ASSERT_TRUE(granted.ok()) << granted.status();
    EXPECT_EQ(granted->residency_id(), loaded->id()) << kind;
  }
}

TEST_F(GpuTest, AGpuThatCannotBeUsedIsADegradedDaemonThatServesTheHost) {
  gpus_.SetFaults("fail context cudaErrorDevicesUnavailable\n");
  Start();
  EXPECT_FALSE(Device(gpus_[0]).available());
  EXPECT_GE(Device(gpus_[0]).notes_size(), 1);
  EXPECT_TRUE(Preload(On("host")).ok());
  gpus_.SetFaults("");
  EXPECT_TRUE(Eventually([&] { return Device(gpus_[0]).available(); }));
  EXPECT_TRUE(Preload(On(gpus_[0])).ok());
}

}  // namespace
}  // namespace modeld::test
