// kill -9 of a worker, wherever it is: its lease is gone within a second, and nobody else notices.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/checkpoint_writer.h"
#include "support/each_device.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

using ::testing::StartsWith;

class KilledWorker : public OnEachDevice {};
class StoringWorker : public OnEachDevice {};
class StoppedWorker : public OnEachDevice {};

TEST_P(KilledWorker, LosesItsLeaseWithinASecondAndNobodyElseNotices) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess survivor = NewHolder();
  WorkerProcess victim = NewHolder();
  const std::string checksum = survivor.Ask("checksum");
  ASSERT_EQ(LeaseCount(), 2u);
  victim.Kill();
  EXPECT_TRUE(Eventually([&] { return LeaseCount() == 1; }, std::chrono::seconds(1)));
  EXPECT_EQ(survivor.Ask("state"), "state HELD");
  EXPECT_EQ(survivor.Ask("checksum"), checksum);
}

TEST_P(KilledWorker, TakesItsLoadWithItUnlessSomebodyElseWaits) {
  StartDaemon();
  const uint64_t free = on_gpu() ? gpus().FreeBytes(0) : 0;
  WriteSlowCheckpoint();
  {
    WorkerProcess victim = NewWorker();
    victim.Send("acquire m.safetensors");
    RpcClient client(daemon().socket());
    ASSERT_TRUE(Eventually([&] {
      const auto list = client.List();
      return list.ok() && !list->empty() && list->front().state() != v1::Residency::PENDING;
    }));
    victim.Kill();
  }
  // Cancelled, or it was already complete: in either case nothing is held or reserved for it.
  ASSERT_TRUE(Eventually([&] {
    const v1::Device now = Device();
    return !now.id().empty() && now.reserved_bytes() == 0 &&
           now.resident_bytes() == now.evictable_bytes();
  }));
  EXPECT_EQ(LeaseCount(), 0u);
  if (on_gpu()) {
    EXPECT_NEAR(gpus().FreeBytes(0), free - Device().resident_bytes(), gpus().SlackBytes());
  }

  WorkerProcess victim = NewWorker();
  WorkerProcess other = NewWorker();
  victim.Send("acquire m.safetensors");
  other.Send("acquire m.safetensors");
  victim.Kill();
  EXPECT_THAT(other.Receive(), StartsWith("ok "));
}

TEST_P(KilledWorker, LeavesNoLeaseBehindAlthoughItsForkedChildLives) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", SmallSpec());
  WorkerProcess parent = NewHolder();
  const std::string answer = parent.Ask("fork");
  ASSERT_THAT(answer, StartsWith("forked "));
  const pid_t child = std::stoi(answer.substr(7));
  parent.Kill();
  EXPECT_TRUE(Eventually([&] { return LeaseCount() == 0; }, std::chrono::seconds(1)));
  EXPECT_EQ(kill(child, 0), 0) << "the child should still be alive";
  kill(child, SIGKILL);
}

TEST_P(StoringWorker, DiesAloneAndChangesNothing) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess reader = NewHolder();
  WorkerProcess writer = NewHolder();
  const std::string checksum = reader.Ask("checksum");
  writer.Send("store");
  const auto status = writer.Wait();
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->ok());  // SIGSEGV, or what a sanitizer makes of it
  EXPECT_EQ(reader.Ask("checksum"), checksum);
  EXPECT_EQ(reader.Ask("state"), "state HELD");
}

TEST_P(StoppedWorker, KeepsItsLease) {
  StartDaemon();
  WriteCheckpoint(daemon().root() + "/m.safetensors", SmallSpec());
  WorkerProcess worker = NewHolder();
  kill(worker.pid(), SIGSTOP);
  const auto evicted = RpcClient(daemon().socket("admin.sock")).Evict("m.safetensors");
  EXPECT_EQ(wire::GetReason(evicted.status()), wire::Reason::kResidencyLeased);
  kill(worker.pid(), SIGCONT);
  EXPECT_EQ(worker.Ask("state"), "state HELD");
}

INSTANTIATE_TEST_SUITE_P(Devices, KilledWorker, testing::ValuesIn(EachDevice()), DeviceKindName);
// CUDA IPC has no read-only mappings.
INSTANTIATE_TEST_SUITE_P(Devices, StoringWorker,
                         testing::ValuesIn(Devices({DeviceKind::kHost, DeviceKind::kVmm})),
                         DeviceKindName);
INSTANTIATE_TEST_SUITE_P(Devices, StoppedWorker, testing::ValuesIn(EachDevice()), DeviceKindName);

}  // namespace
}  // namespace modeld::test
