// How long a worker waits when modeld is replaced under it: the longest gap between two acquires
// that succeed, one after another, by a process that knows of nothing. modeld is killed, or hands
// over (SIGUSR2), and is started again at once in the same directories, with a hundred residencies.
//
// The program is its own worker: `bench_restart --acquire ...`.

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bench_table.h"
#include "bench_tools.h"
#include "modeld/client.h"
#include "piped_process.h"
#include "process_usage.h"
#include "resident.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/rpc_client.h"
#include "support/temp_dir.h"

namespace modeld::bench {
namespace {

constexpr int kResidencies = 100;
constexpr int kRestarts = 9;
constexpr double kMaxGapMillis = 500;
// What the agent reads besides files: its event descriptors, 8 bytes at a time.
constexpr double kMaxReadKib = 4;
constexpr char kReference[] = "m0.safetensors";

bool IsAsked() {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) > 0;
}

// Acquires and lets go until its input ends. Asked, it tells the longest gap since it was asked
// before: after one more acquire, so that a restart that began before the question is over.
int AcquireForever(const std::string& endpoint) {
  const auto client = Client::Connect(endpoint);
  auto last = Clock::now();
  double longest = 0;
  const auto acquire = [&] {
    client->Acquire({.reference = kReference});
    const auto now = Clock::now();
    longest = std::max(longest, Millis(now - last));
    last = now;
  };
  acquire();
  Say(0);
  while (true) {
    acquire();
    if (!IsAsked()) continue;
    if (!NextTurn()) return 0;
    acquire();
    Say(longest);
    longest = 0;
  }
}

class Bench {
 public:
  Bench() : daemon_({.args = {"--state-dir", state_ / "s"}}) {
    if (!daemon_.running()) Die("no daemon");
    test::RpcClient admin(daemon_.socket("admin.sock"));
    for (int i = 0; i < kResidencies; ++i) {
      const std::string name = "m" + std::to_string(i) + ".safetensors";
      test::WriteCheckpoint(daemon_.root() + "/" + name, test::SmallSpec(i + 1));
      OrDie(admin.Preload(name));
    }
    AwaitDigests(daemon_);
  }

  bool Run() {
    Restarts("killed", SIGKILL);
    Restarts("handing over", SIGUSR2);
    return ok_;
  }

 private:
  void Show(const Row& row) {
    Print(row);
    ok_ &= row.holds;
  }

  void Restarts(const std::string& how, int signal) {
    PipedProcess worker(kSelf, {"--acquire", daemon_.endpoint()});
    worker.Read();
    const pid_t agent = daemon_.agent_pid();
    std::vector<double> gaps;
    std::vector<double> quiet;  // over as long a time, without a restart
    std::vector<double> read_kib;
    uint64_t from_disk = 0;
    for (int i = 0; i < kRestarts; ++i) {
      Ask(worker);
      const ReadBytes before = BytesReadBy(agent);
      const double millis = TimeMillis([&] {
        daemon_.Kill(signal);
        daemon_.Start();
      });
      if (!daemon_.running()) Die("modeld does not start again");
      gaps.push_back(Ask(worker));
      const auto end = Clock::now() + std::chrono::duration<double, std::milli>(millis);
      double longest = 0;
      while (Clock::now() < end) longest = std::max(longest, Ask(worker));
      quiet.push_back(longest);
      if (daemon_.agent_pid() != agent) Die("the agent is another one");
      const ReadBytes after = BytesReadBy(agent);
      read_kib.push_back(static_cast<double>(after.asked - before.asked) / 1024);
      from_disk += after.from_disk - before.from_disk;
    }
    Show(Within("modeld " + how + ": longest gap between acquires / no restart", Median(gaps),
                Median(quiet), "ms", kMaxGapMillis));
    Show(Only("modeld " + how + ": the longest of " + std::to_string(kRestarts) + " restarts",
              *std::ranges::max_element(gaps), "ms"));
    Show(Within("modeld " + how + ": read by the agent, which stays", Median(read_kib), 0, "KiB",
                kMaxReadKib));
    Show(Within("modeld " + how + ": read by the agent from disk, in all",
                static_cast<double>(from_disk), 0, "B", 0));
  }

  static double Ask(PipedProcess& worker) {
    worker.Continue();
    return worker.Read();
  }

  const test::TempDir state_;
  test::DaemonFixture daemon_;
  bool ok_ = true;
};

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() == 2 && arguments[0] == "--acquire") return AcquireForever(arguments[1]);
  return Bench().Run() ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main(int argc, char** argv) {
  return modeld::bench::RunBench([&] { return modeld::bench::Main({argv + 1, argv + argc}); });
}
