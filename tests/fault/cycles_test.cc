// Many times over: what a single time would not show is left behind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <cstdlib>
#include <random>

#include "support/checkpoint_writer.h"
#include "support/each_device.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/sanitizer.h"

namespace modeld::test {
namespace {

using ::testing::StartsWith;

// gRPC gives each thread that polls an eventfd when it first needs one. What one cycle in a
// thousand leaves behind is more than this.
constexpr size_t kPollerFds = 4;

// Of each kind. A GPU's workers, and those with a sanitizer, are slower to start, and have less in
// the time of tests/run; cycles_slow_test has the rest.
unsigned KilledWorkers(bool on_gpu) {
  const char* wanted = std::getenv("MODELD_TEST_KILLED_WORKERS");
  return wanted != nullptr      ? static_cast<unsigned>(std::atoi(wanted))
         : on_gpu || kSanitized ? 200
                                : 1000;
}

class CyclesTest : public OnEachDevice {
 protected:
  struct Resources {
    size_t daemon_fds = 0;
    size_t agent_fds = 0;
    uint32_t leases = 0;
    uint32_t sessions = 0;
    uint64_t resident_bytes = 0;
    uint64_t device_free_bytes = 0;  // of a GPU
  };

  void SetUp() override {
    StartDaemon();
    WriteCheckpoint(daemon().root() + "/m.safetensors", SmallSpec());
    NewHolder().Finish();
    // The table of digests is a descriptor, too, and comes when the machine has nothing else to do.
    ASSERT_TRUE(Eventually([&] {
      const auto list = RpcClient(daemon().socket()).List();
      return list.ok() && !list->empty() && !list->front().digest().empty();
    }));
    ASSERT_TRUE(Eventually([&] { return Look().sessions == 0; }));
    before_ = Look();
  }

  Resources Look() {
    Resources now;
    {
      RpcClient client(daemon().socket());
      const auto info = client.ServerInfo();
      EXPECT_TRUE(info.ok()) << info.status();
      if (info.ok()) {
        now.leases = info->lease_count();
        now.sessions = info->session_count();
      }
      now.resident_bytes = client.Device(device())->resident_bytes();
    }
    now.daemon_fds = OpenFdCount(daemon().pid());
    now.agent_fds = OpenFdCount(daemon().agent_pid(device()));
    if (on_gpu()) now.device_free_bytes = gpus().FreeBytes(0);
    return now;
  }

  // gRPC closes a connection's descriptor a moment after its end.
  void ExpectNothingLeft() {
    Resources after;
    EXPECT_TRUE(Eventually([&] {
      after = Look();
      return after.daemon_fds <= before_.daemon_fds + kPollerFds &&
             after.agent_fds == before_.agent_fds && after.leases == before_.leases &&
             after.sessions == before_.sessions &&
             (!on_gpu() ||
              after.device_free_bytes + gpus().SlackBytes() >= before_.device_free_bytes);
    })) << "descriptors of modeld "
        << before_.daemon_fds << " -> " << after.daemon_fds << ", of the agent "
        << before_.agent_fds << " -> " << after.agent_fds << ", leases " << before_.leases << " -> "
        << after.leases << ", sessions " << before_.sessions << " -> " << after.sessions
        << ", free on the device " << before_.device_free_bytes << " -> " << after.device_free_bytes
        << "\n"
        << OpenFds(daemon().pid());
    EXPECT_EQ(after.resident_bytes, before_.resident_bytes);
  }

  Resources before_;
};

TEST_P(CyclesTest, AttachesAndReleasesLeaveNothingBehind) {
  // A thread each time is what CUDA's per-thread state costs on a GPU; a sanitizer sees in one what
  // it sees in ten.
  const int rounds = on_gpu() || kSanitized ? 2 : 10;
  WorkerProcess worker = NewWorker();
  for (int i = 0; i < rounds; ++i) {
    ASSERT_EQ(worker.Ask("cycle m.safetensors 1000"), "cycled 1000");
  }
  const size_t worker_fds = OpenFdCount(worker.pid());
  ASSERT_EQ(worker.Ask("cycle m.safetensors 100"), "cycled 100");
  EXPECT_LE(OpenFdCount(worker.pid()), worker_fds);
  worker.Finish();
  ExpectNothingLeft();
}

TEST_P(CyclesTest, KilledWorkersLeaveNothingBehind) {
  std::mt19937 random(20231);
  constexpr unsigned kAtOnce = 4;
  // Anywhere between the start of the program and the middle of its cycles.
  constexpr long kLongestNanos = kSanitized ? 300'000'000 : 60'000'000;
  for (unsigned i = 0; i < KilledWorkers(on_gpu()) / kAtOnce; ++i) {
    std::vector<WorkerProcess> workers;
    for (unsigned k = 0; k < kAtOnce; ++k) {
      workers.push_back(NewWorker());
      workers.back().Send("acquire m.safetensors");
      workers.back().Send("cycle m.safetensors 1000");
    }
    const timespec pause{0, static_cast<long>(random() % kLongestNanos)};
    nanosleep(&pause, nullptr);
    for (WorkerProcess& worker : workers) worker.Kill();
  }
  EXPECT_GT(CountEvents(v1::Event::LEASE_GRANTED), KilledWorkers(on_gpu()) / 20u)
      << "hardly any came as far as to its cycles";
  ExpectNothingLeft();
  EXPECT_THAT(NewWorker().Ask("acquire m.safetensors"), StartsWith("ok "));
}

INSTANTIATE_TEST_SUITE_P(Devices, CyclesTest, testing::ValuesIn(EachDevice()), DeviceKindName);

}  // namespace
}  // namespace modeld::test
