// Workers that acquire, check and release more models than fit, while workers, agents and modeld
// are killed at random, operators do what operators do, and files change: no wrong byte, no hang,
// no leak, and every worker that wants a model gets it.
//
//   MODELD_CHAOS_SECONDS   how long (by default a minute, or what a sanitizer leaves of it)
//   MODELD_CHAOS_SEED      of the disturbances; when they meet what is up to the machine

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>

#include "chaos_crew.h"
#include "chaos_disturber.h"
#include "chaos_models.h"
#include "support/each_device.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/sanitizer.h"
#include "support/temp_dir.h"

namespace modeld::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// gRPC gives each thread that polls an eventfd when it first needs one.
constexpr size_t kPollerFds = 4;
constexpr unsigned kLongestPause = 350;  // milliseconds between two disturbances

unsigned Number(const char* variable, unsigned otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

class Chaos : public OnEachDevice {
 protected:
  // What an idle daemon has.
  struct Remains {
    size_t daemon_fds = 0;
    size_t daemon_memfds = 0;
    size_t agent_fds = 0;
    size_t agent_memfds = 0;
    size_t processes = 0;
    std::set<std::string> runtime_files;
    uint64_t device_free_bytes = 0;  // of a GPU
  };

  void SetUp() override {
    seed_ = Number("MODELD_CHAOS_SEED", std::random_device()());
    // A GPU is another kind of memory, not another manager: it gets less of the time.
    duration_ = std::chrono::seconds(Number("MODELD_CHAOS_SECONDS", kSanitized ? 20 : 60)) /
                (on_gpu() ? 4 : 1);
    std::printf("MODELD_CHAOS_SEED=%u\n", seed_);
    StartDaemon({.host_capacity = kChaosCapacity,
                 .config = std::string("adoption_grace = \"") + kChaosAdoptionGrace + "\"\n",
                 .args = {"--state-dir", state_dir_.path()}});
    ASSERT_TRUE(Eventually([&] { return Device().available(); }));
    for (const ChaosModel& model : ChaosModels()) WriteChaosModel(daemon().root(), model, 0);
    before_ = Look();
  }

  std::vector<std::string> Environment() {
    std::vector<std::string> environment;
    if (on_gpu()) environment = gpus().Environment();
    environment.push_back("MODELD_TEST_DEVICE=" + device());
    return environment;
  }

  static size_t CountMemfds(pid_t pid) {
    const std::string fds = OpenFds(pid);
    size_t count = 0;
    for (size_t at = 0; (at = fds.find("/memfd:", at)) != std::string::npos; ++at) ++count;
    return count;
  }

  Remains Look() {
    const pid_t agent = daemon().agent_pid(device());
    Remains now;
    now.daemon_fds = OpenFdCount(daemon().pid());
    now.daemon_memfds = CountMemfds(daemon().pid());
    now.agent_fds = OpenFdCount(agent);
    now.agent_memfds = CountMemfds(agent);
    now.processes = daemon().Leftovers().size();
    for (const auto& entry : std::filesystem::directory_iterator(daemon().runtime_dir())) {
      now.runtime_files.insert(entry.path().filename());
    }
    if (on_gpu()) now.device_free_bytes = gpus().FreeBytes(0);
    return now;
  }

  // Evicts what can be. A pin outlives what was lost, and holds what was loaded since.
  bool IsEmpty(ChaosDisturber& disturber) {
    disturber.UnpinAll();
    RpcClient admin(daemon().socket("admin.sock"));
    const auto list = admin.List();
    if (!list.ok()) return false;
    for (const v1::Residency& residency : *list) {
      const auto evicted = admin.Evict(residency.id());
      evicted.IgnoreError();
    }
    const v1::Device now = Device();
    return list->empty() && now.available() && now.reserved_bytes() + now.resident_bytes() == 0;
  }

  void ExpectNothingLeft(ChaosDisturber& disturber) {
    EXPECT_TRUE(Eventually([&] {
      const auto info = RpcClient(daemon().socket()).ServerInfo();
      return info.ok() && info->lease_count() == 0 && info->session_count() == 0;
    })) << "leases are left";
    EXPECT_TRUE(Eventually([&] { return IsEmpty(disturber); }))
        << "memory is left: " << Device().ShortDebugString();
    Remains after;
    EXPECT_TRUE(Eventually([&] {
      after = Look();
      return after.daemon_fds <= before_.daemon_fds + kPollerFds &&
             after.daemon_memfds == before_.daemon_memfds &&
             after.agent_fds <= before_.agent_fds + kPollerFds &&
             after.agent_memfds == before_.agent_memfds && after.processes == before_.processes &&
             after.runtime_files == before_.runtime_files &&
             (!on_gpu() ||
              after.device_free_bytes + gpus().SlackBytes() >= before_.device_free_bytes);
    })) << "descriptors of modeld "
        << before_.daemon_fds << " -> " << after.daemon_fds << ", of the agent "
        << before_.agent_fds << " -> " << after.agent_fds << ", memfds " << before_.daemon_memfds
        << " -> " << after.daemon_memfds << " and " << before_.agent_memfds << " -> "
        << after.agent_memfds << ", free on the device " << before_.device_free_bytes << " -> "
        << after.device_free_bytes << ", files " << testing::PrintToString(after.runtime_files)
        << ", processes " << testing::PrintToString(daemon().Leftovers()) << "\n"
        << OpenFds(daemon().pid());
  }

  void Report(const ChaosCrew& crew, const ChaosDisturber& disturber) {
    const ChaosCrew::Figures& figures = crew.figures();
    std::printf(
        "%llu rounds, %llu acquired, %.1f GiB checked, longest acquire %.3f s (%s), longest "
        "restart %lld ms\n",
        static_cast<unsigned long long>(figures.rounds),
        static_cast<unsigned long long>(figures.acquired),
        static_cast<double>(figures.checked_bytes) / (1 << 30),
        static_cast<double>(figures.longest_acquire.count()) / 1e6,
        figures.longest_reference.c_str(),
        static_cast<long long>(disturber.longest_restart().count()));
    for (const auto& [kind, count] : disturber.counts()) {
      std::printf("  %s: %llu\n", kind.c_str(), static_cast<unsigned long long>(count));
    }
    for (const auto& [reason, count] : figures.again) {
      std::printf("  asked again after %s: %llu\n", reason.c_str(),
                  static_cast<unsigned long long>(count));
    }
  }

  const TempDir state_dir_;
  unsigned seed_ = 0;
  milliseconds duration_{0};
  Remains before_;
};

TEST_P(Chaos, EveryWorkerGetsWhatItWantsAndNoByteIsWrong) {
  std::mt19937 random(seed_);
  ChaosCrew crew(daemon().endpoint(), Environment(), kChaosWorkers, seed_);
  ChaosDisturber disturber(daemon(), crew, device(), seed_);
  disturber.SetFirstAlias();
  crew.Start();
  const auto end = steady_clock::now() + duration_;
  bool well = true;
  while (well && !HasFailure() && steady_clock::now() < end) {
    well = crew.Listen(steady_clock::now() + milliseconds(random() % kLongestPause));
    if (well) disturber.Disturb();
  }
  disturber.UnpinAll();
  well = well && crew.Finish();
  Report(crew, disturber);
  ASSERT_TRUE(well && !HasFailure()) << "MODELD_CHAOS_SEED=" << seed_ << "\n---- what happened:\n"
                                     << disturber.Log() << "---- the workers:\n"
                                     << crew.LastWords();
  EXPECT_GT(crew.FewestRounds(), 0u);
  ExpectNothingLeft(disturber);
}

INSTANTIATE_TEST_SUITE_P(Devices, Chaos,
                         testing::ValuesIn(Devices({DeviceKind::kHost, DeviceKind::kVmm})),
                         DeviceKindName);

}  // namespace
}  // namespace modeld::test
