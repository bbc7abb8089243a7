// kill -9 of a worker, wherever it is: its lease is gone within a second, and nobody else notices.

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

using ::testing::StartsWith;

uint32_t LeaseCount(DaemonFixture& daemon) {
  const auto info = RpcClient(daemon.socket()).ServerInfo();
  EXPECT_TRUE(info.ok()) << info.status();
  return info.ok() ? info->lease_count() : 0;
}

TEST(KilledWorker, LosesItsLeaseWithinASecondAndNobodyElseNotices) {
  DaemonFixture daemon;
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess survivor(daemon.endpoint());
  WorkerProcess victim(daemon.endpoint());
  ASSERT_THAT(survivor.Ask("acquire m.safetensors"), StartsWith("ok "));
  ASSERT_THAT(victim.Ask("acquire m.safetensors"), StartsWith("ok "));
  const std::string checksum = survivor.Ask("checksum");
  ASSERT_EQ(LeaseCount(daemon), 2u);
  victim.Kill();
  EXPECT_TRUE(Eventually([&] { return LeaseCount(daemon) == 1; }, std::chrono::seconds(1)));
  EXPECT_EQ(survivor.Ask("state"), "state HELD");
  EXPECT_EQ(survivor.Ask("checksum"), checksum);
}

TEST(KilledWorker, TakesItsLoadWithItUnlessSomebodyElseWaits) {
  DaemonFixture daemon;
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(512 << 20));
  {
    WorkerProcess victim(daemon.endpoint());
    victim.Send("acquire m.safetensors");
    RpcClient client(daemon.socket());
    ASSERT_TRUE(Eventually([&] {
      const auto list = client.List();
      return list.ok() && !list->empty() && list->front().state() != v1::Residency::PENDING;
    }));
    victim.Kill();
  }
  // Cancelled, or it was already complete: in either case nothing is held or reserved for it.
  ASSERT_TRUE(Eventually([&] {
    const auto device = RpcClient(daemon.socket()).HostDevice();
    return device.ok() && device->reserved_bytes() == 0 &&
           device->resident_bytes() == device->evictable_bytes();
  }));
  EXPECT_EQ(LeaseCount(daemon), 0u);

  WorkerProcess victim(daemon.endpoint());
  WorkerProcess other(daemon.endpoint());
  victim.Send("acquire m.safetensors");
  other.Send("acquire m.safetensors");
  victim.Kill();
  EXPECT_THAT(other.Receive(), StartsWith("ok "));
}

TEST(KilledWorker, LeavesNoLeaseBehindAlthoughItsForkedChildLives) {
  DaemonFixture daemon;
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  WorkerProcess parent(daemon.endpoint());
  ASSERT_THAT(parent.Ask("acquire m.safetensors"), StartsWith("ok "));
  const std::string answer = parent.Ask("fork");
  ASSERT_THAT(answer, StartsWith("forked "));
  const pid_t child = std::stoi(answer.substr(7));
  parent.Kill();
  EXPECT_TRUE(Eventually([&] { return LeaseCount(daemon) == 0; }, std::chrono::seconds(1)));
  EXPECT_EQ(kill(child, 0), 0) << "the child should still be alive";
  kill(child, SIGKILL);
}

TEST(StoringWorker, DiesAloneAndChangesNothing) {
  DaemonFixture daemon;
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(16 << 20));
  WorkerProcess reader(daemon.endpoint());
  WorkerProcess writer(daemon.endpoint());
  ASSERT_THAT(reader.Ask("acquire m.safetensors"), StartsWith("ok "));
  ASSERT_THAT(writer.Ask("acquire m.safetensors"), StartsWith("ok "));
  const std::string checksum = reader.Ask("checksum");
  writer.Send("store");
  const auto status = writer.Wait();
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->ok());  // SIGSEGV, or what a sanitizer makes of it
  EXPECT_EQ(reader.Ask("checksum"), checksum);
  EXPECT_EQ(reader.Ask("state"), "state HELD");
}

TEST(StoppedWorker, KeepsItsLease) {
  DaemonFixture daemon;
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  WorkerProcess worker(daemon.endpoint());
  ASSERT_THAT(worker.Ask("acquire m.safetensors"), StartsWith("ok "));
  kill(worker.pid(), SIGSTOP);
  const auto evicted = RpcClient(daemon.socket("admin.sock")).Evict("m.safetensors");
  EXPECT_EQ(wire::GetReason(evicted.status()), wire::Reason::kResidencyLeased);
  kill(worker.pid(), SIGCONT);
  EXPECT_EQ(worker.Ask("state"), "state HELD");
}

}  // namespace
}  // namespace modeld::test
