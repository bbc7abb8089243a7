// Many times over: what a single time would not show is left behind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <random>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/worker_process.h"

namespace modeld::test {
namespace {

using ::testing::StartsWith;

struct Resources {
  size_t daemon_fds = 0;
  size_t agent_fds = 0;
  uint32_t leases = 0;
  uint32_t sessions = 0;
  uint64_t resident_bytes = 0;
};

Resources Look(DaemonFixture& daemon) {
  Resources now;
  {
    RpcClient client(daemon.socket());
    const auto info = client.ServerInfo();
    EXPECT_TRUE(info.ok()) << info.status();
    if (info.ok()) {
      now.leases = info->lease_count();
      now.sessions = info->session_count();
    }
    now.resident_bytes = client.HostDevice()->resident_bytes();
  }
  now.daemon_fds = OpenFdCount(daemon.pid());
  now.agent_fds = OpenFdCount(daemon.agent_pid());
  return now;
}

// gRPC gives each thread that polls an eventfd when it first needs one. What one cycle in a
// thousand leaves behind is more than this.
constexpr size_t kPollerFds = 4;

// gRPC closes a connection's descriptor a moment after its end.
void ExpectTheSameAs(const Resources& before, DaemonFixture& daemon) {
  Resources after;
  EXPECT_TRUE(Eventually([&] {
    after = Look(daemon);
    return after.daemon_fds <= before.daemon_fds + kPollerFds &&
           after.agent_fds == before.agent_fds && after.leases == before.leases &&
           after.sessions == before.sessions;
  })) << "descriptors of modeld "
      << before.daemon_fds << " -> " << after.daemon_fds << ", of the agent " << before.agent_fds
      << " -> " << after.agent_fds << ", leases " << before.leases << " -> " << after.leases
      << ", sessions " << before.sessions << " -> " << after.sessions << "\n"
      << OpenFds(daemon.pid());
  EXPECT_EQ(after.resident_bytes, before.resident_bytes);
}

class CyclesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteCheckpoint(daemon_.root() + "/m.safetensors", SmallSpec());
    WorkerProcess first(daemon_.endpoint());
    ASSERT_THAT(first.Ask("acquire m.safetensors"), StartsWith("ok "));
    first.Finish();
    ASSERT_TRUE(Eventually([&] { return Look(daemon_).sessions == 0; }));
  }

  DaemonFixture daemon_;
};

TEST_F(CyclesTest, TenThousandAttachesAndReleasesLeaveNothingBehind) {
  const Resources before = Look(daemon_);
  WorkerProcess worker(daemon_.endpoint());
  for (int i = 0; i < 10; ++i) ASSERT_EQ(worker.Ask("cycle m.safetensors 1000"), "cycled 1000");
  const size_t worker_fds = OpenFdCount(worker.pid());
  ASSERT_EQ(worker.Ask("cycle m.safetensors 100"), "cycled 100");
  EXPECT_LE(OpenFdCount(worker.pid()), worker_fds);
  worker.Finish();
  ExpectTheSameAs(before, daemon_);
}

TEST_F(CyclesTest, AThousandKilledWorkersLeaveNothingBehind) {
  const Resources before = Look(daemon_);
  std::mt19937 random(20231);
  constexpr int kAtOnce = 4;
  for (int i = 0; i < 1000 / kAtOnce; ++i) {
    std::vector<WorkerProcess> workers;
    for (int k = 0; k < kAtOnce; ++k) {
      workers.emplace_back(daemon_.endpoint());
      workers.back().Send("acquire m.safetensors");
      workers.back().Send("cycle m.safetensors 1000");
    }
    // Anywhere between the start of the program and the middle of its cycles.
    const timespec pause{0, static_cast<long>(random() % 25'000'000)};
    nanosleep(&pause, nullptr);
    for (WorkerProcess& worker : workers) worker.Kill();
  }
  ExpectTheSameAs(before, daemon_);
  WorkerProcess after(daemon_.endpoint());
  EXPECT_THAT(after.Ask("acquire m.safetensors"), StartsWith("ok "));
}

}  // namespace
}  // namespace modeld::test
