// What is different when one of the devices is a GPU.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes.h"
#include "residency/manager.h"

namespace modeld::residency {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using wire::Reason;

constexpr uint64_t kGpuUnit = FakeCatalog::kUnit;
constexpr char kGpu[] = "GPU-1";

class ManagerGpuTest : public ::testing::Test {
 protected:
  ManagerGpuTest() : manager_({&catalog_, &executor_, &executor_, &clock_, &clock_}) {
    manager_.AddDevice("host", 10 * kGpuUnit, &host_);
    manager_.AddDevice(kGpu, 10 * kGpuUnit, &gpu_, {.index = 0, .name = "A GPU"});
    manager_.OnAgentUp("host", {.pid = 7, .export_kind = "memfd"});
    manager_.OnAgentUp(kGpu, {.pid = 8, .export_kind = "vmm", .export_note = "vmm works"});
    gpu_.kind = wire::SegmentKind::kCudaVmm;
    catalog_.Put("a", 4);
  }

  struct Held {
    Ticket ticket = 0;
    std::shared_ptr<RecordingObserver> observer = std::make_shared<RecordingObserver>();
    RecordingObserver* operator->() const { return observer.get(); }
  };

  Held Acquire(const std::string& device, bool keep_host = false) {
    Held held;
    AcquireRequest request;
    request.spec = {.reference = "a", .device = device, .keep_host = keep_host};
    held.ticket = manager_.Acquire(std::move(request), held.observer);
    return held;
  }

  Snapshot Look() {
    Snapshot snapshot;
    manager_.GetSnapshot(SnapshotParts::All(), [&](Snapshot s) { snapshot = std::move(s); });
    return snapshot;
  }
  DeviceInfo Device(const std::string& id) {
    for (const DeviceInfo& device : Look().devices) {
      if (device.id == id) return device;
    }
    return {};
  }
  // What is said at once; an eviction that goes ahead is answered later.
  absl::Status Evict(const std::string& selector) {
    const auto status = std::make_shared<absl::Status>();
    manager_.Evict({.selector = selector}, [status](const absl::StatusOr<EvictResult>& result) {
      *status = result.status();
    });
    return *status;
  }

  base::ManualClock clock_;
  base::InlineExecutor executor_;
  FakeCatalog catalog_;
  FakeBackend host_;
  FakeBackend gpu_;
  Manager manager_;
};

TEST_F(ManagerGpuTest, OneContentOnTwoDevicesIsTwoResidencies) {
  const Held on_gpu = Acquire(kGpu);
  const Held on_host = Acquire("host");
  EXPECT_EQ(gpu_.loads.size(), 1u);
  EXPECT_EQ(host_.loads.size(), 1u);
  gpu_.FinishLoad(manager_);
  host_.FinishLoad(manager_);
  EXPECT_EQ(on_gpu->grants.at(0).device, kGpu);
  EXPECT_EQ(on_gpu->grants.at(0).segments.at(0).kind, wire::SegmentKind::kCudaVmm);
  EXPECT_EQ(on_host->grants.at(0).device, "host");
  EXPECT_EQ(Device(kGpu).resident_bytes, 4 * kGpuUnit);
  EXPECT_EQ(Device(kGpu).facts.name, "A GPU");
  EXPECT_EQ(Device(kGpu).export_note, "vmm works");
}

TEST_F(ManagerGpuTest, ADeviceThatIsNotThereIsRefusedWithTheWayToSeeWhichAre) {
  const Held held = Acquire("GPU-2");
  EXPECT_EQ(held->end_reason(), Reason::kDeviceUnavailable);
  EXPECT_THAT(wire::GetErrorInfo(held->ends[0]).hint, HasSubstr("modelctl devices"));
}

TEST_F(ManagerGpuTest, ALoadReadsTheHostsCopyWhereThereIsOneAndKeepsItThere) {
  const Held on_host = Acquire("host");
  host_.FinishLoad(manager_);
  manager_.Release(on_host.ticket);
  const Held on_gpu = Acquire(kGpu);
  ASSERT_EQ(gpu_.loads.size(), 1u);
  EXPECT_THAT(gpu_.loads[0].checkpoint->reference, HasSubstr("host:"));
  EXPECT_EQ(catalog_.plan_count(), 1) << "no file was read for the GPU";
  // While it is read it is neither evictable nor evicted.
  EXPECT_EQ(Device("host").evictable_bytes, 0u);
  const std::string host_id = on_host->grants.at(0).residency_id;
  EXPECT_EQ(wire::GetReason(Evict(host_id)), Reason::kResidencyLeased);
  gpu_.FinishLoad(manager_);
  EXPECT_TRUE(on_gpu->granted());
  EXPECT_EQ(Device("host").evictable_bytes, 4 * kGpuUnit);
}

TEST_F(ManagerGpuTest, TheHostsCopyIsFreeAgainWhenTheLoadFails) {
  const Held on_host = Acquire("host");
  host_.FinishLoad(manager_);
  manager_.Release(on_host.ticket);
  const Held on_gpu = Acquire(kGpu);
  gpu_.FailLoad(manager_, wire::MakeError(Reason::kDeviceLost, "gone"));
  EXPECT_EQ(on_gpu->end_reason(), Reason::kDeviceLost);
  EXPECT_EQ(Device("host").evictable_bytes, 4 * kGpuUnit);
}

TEST_F(ManagerGpuTest, KeepHostLoadsByWayOfACopyThatStays) {
  const Held on_gpu = Acquire(kGpu, /*keep_host=*/true);
  EXPECT_THAT(gpu_.loads, IsEmpty());
  ASSERT_EQ(host_.loads.size(), 1u);
  host_.FinishLoad(manager_);
  ASSERT_EQ(gpu_.loads.size(), 1u);
  EXPECT_THAT(gpu_.loads[0].checkpoint->reference, HasSubstr("host:"));
  gpu_.FinishLoad(manager_);
  EXPECT_TRUE(on_gpu->granted());
  manager_.Release(on_gpu.ticket);
  EXPECT_EQ(Look().residencies.size(), 2u);
}

TEST_F(ManagerGpuTest, KeepHostMakesACopyOnTheHostBesideOneThatIsOnTheGpuAlready) {
  const Held first = Acquire(kGpu);
  gpu_.FinishLoad(manager_);
  const Held second = Acquire(kGpu, /*keep_host=*/true);
  EXPECT_TRUE(second->granted()) << "it does not wait for the host";
  ASSERT_EQ(host_.loads.size(), 1u);
  host_.FinishLoad(manager_);
  EXPECT_EQ(Device("host").evictable_bytes, 4 * kGpuUnit);
  const Held third = Acquire(kGpu, /*keep_host=*/true);
  EXPECT_THAT(host_.loads, IsEmpty());
}

TEST_F(ManagerGpuTest, KeepHostFailsWithTheHostsOwnError) {
  const Held on_gpu = Acquire(kGpu, /*keep_host=*/true);
  host_.FailLoad(manager_, wire::MakeError(Reason::kReadFailed, "the disk"));
  EXPECT_EQ(on_gpu->end_reason(), Reason::kReadFailed);
  EXPECT_THAT(Look().residencies, IsEmpty());
}

TEST_F(ManagerGpuTest, AnAbandonedKeepHostCancelsTheHostsLoadToo) {
  const Held on_gpu = Acquire(kGpu, /*keep_host=*/true);
  ASSERT_EQ(host_.loads.size(), 1u);
  const std::string host_id = host_.loads[0].record.id;
  manager_.Release(on_gpu.ticket);
  EXPECT_THAT(host_.cancelled, ElementsAre(host_id));
  host_.FailLoad(manager_, wire::MakeError(Reason::kCancelled, "cancelled"));
  EXPECT_THAT(Look().residencies, IsEmpty());
}

TEST_F(ManagerGpuTest, MemoryThatDiesWithItsAgentIsLostAndItsHoldersAreTold) {
  gpu_.kind = wire::SegmentKind::kCudaIpc;
  const Held held = Acquire(kGpu);
  gpu_.FinishLoad(manager_);
  manager_.OnAgentDown(kGpu, wire::MakeError(Reason::kDeviceUnavailable, "killed"));
  ASSERT_EQ(held->losses.size(), 1u);
  EXPECT_EQ(wire::GetReason(held->losses[0]), Reason::kDeviceLost);
  EXPECT_EQ(held->end_reason(), Reason::kDeviceLost);
  EXPECT_EQ(Device(kGpu).resident_bytes, 0u);
  EXPECT_THAT(Look().leases, IsEmpty());
  manager_.Release(held.ticket);  // the client hangs up: nothing is left to end

  manager_.OnAgentUp(kGpu, {.pid = 9});
  EXPECT_THAT(gpu_.adopted, IsEmpty());
  const Held again = Acquire(kGpu);
  gpu_.FinishLoad(manager_);
  EXPECT_TRUE(again->granted());
}

TEST_F(ManagerGpuTest, MemoryBehindDescriptorsOutlivesItsAgent) {
  const Held held = Acquire(kGpu);
  gpu_.FinishLoad(manager_);
  manager_.OnAgentDown(kGpu, wire::MakeError(Reason::kDeviceUnavailable, "killed"));
  EXPECT_THAT(held->losses, IsEmpty());
  const Held meanwhile = Acquire(kGpu);
  EXPECT_TRUE(meanwhile->granted());
  manager_.OnAgentUp(kGpu, {.pid = 9});
  EXPECT_THAT(gpu_.adopted, ElementsAre(held->grants.at(0).residency_id));
}

TEST_F(ManagerGpuTest, SaysWhenMemoryDoesNotComeBack) {
  const Held held = Acquire(kGpu);
  gpu_.FinishLoad(manager_);
  manager_.Release(held.ticket);
  const std::string id = held->grants.at(0).residency_id;
  EXPECT_TRUE(Evict(id).ok());
  manager_.OnReleased(id, 4096);
  EXPECT_THAT(Device(kGpu).notes, ElementsAre(HasSubstr("4096 bytes")));
  EXPECT_EQ(Device(kGpu).resident_bytes, 0u);
}

}  // namespace
}  // namespace modeld::residency
