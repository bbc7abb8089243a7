// What a thousand residencies, a thousand worker processes and ten thousand leases cost: the time
// of an acquire, of a listing, and modeld's own memory. A daemon for each size, each a tenth of the
// next; MODELD_BENCH_RESIDENCIES (default 1000) is the largest.
//
// The program is its own workers: `bench_scale --hold ...`.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/child_process.h"
#include "bench_table.h"
#include "bench_tools.h"
#include "fd_limit.h"
#include "modeld/client.h"
#include "piped_process.h"
#include "process_usage.h"
#include "resident.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/rpc_client.h"
#include "wire/unique_fd.h"

namespace modeld::bench {
namespace {

constexpr int kLeasesPerWorker = 10;
constexpr int kAcquires = 2000;
constexpr int kListings = 200;
// Of this program: two pipes, a pidfd and some to spare for each worker. modeld takes less: three
// for a residency, two connections and a few more for a worker.
constexpr uint64_t kFdsPerWorker = 8;

constexpr double kMaxSlowdown = 5;
constexpr double kMaxKibPerLease = 24;
constexpr double kMaxKibPerConnection = 48;
constexpr double kGrowth = 10.5;  // from one size to the next: linear, and 5 % for the measurement

std::string Name(int index) { return "m" + std::to_string(index) + ".safetensors"; }

// Connects; then holds leases on different residencies; until its input ends.
int Hold(const std::string& endpoint, int first, int residencies) {
  const auto client = Client::Connect(endpoint);
  Say(0);
  if (!NextTurn()) return 0;
  std::vector<std::shared_ptr<const Model>> models;
  for (int i = 0; i < std::min(kLeasesPerWorker, residencies); ++i) {
    models.push_back(client->Acquire({.reference = Name((first + i) % residencies)}));
  }
  Say(0);
  NextTurn();
  return 0;
}

// What was measured at one size.
struct Size {
  int residencies = 0;
  double idle_micros = 0;  // median of acquires, before there is a worker
  double held_micros = 0;  // the same while everything is held
  double held_micros_p99 = 0;
  double lease_kib = 0;
  double connection_kib = 0;
  double list_millis = 0;
  double ps_millis = 0;

  double leases() const { return residencies * std::min(kLeasesPerWorker, residencies); }
};

class Measurement {
 public:
  explicit Measurement(int residencies)
      : residencies_(residencies), daemon_({.host_capacity = "8GiB"}) {
    if (!daemon_.running()) Die("no daemon");
    for (int i = 0; i < residencies; ++i) {
      test::WriteCheckpoint(daemon_.root() + "/" + Name(i),
                            test::SmallSpec(static_cast<uint64_t>(i) + 1));
    }
    test::RpcClient admin(daemon_.socket("admin.sock"));
    for (int i = 0; i < residencies; ++i) OrDie(admin.Preload(Name(i)));
    AwaitDigests(daemon_);
    client_ = Client::Connect(daemon_.endpoint());
  }

  Size Run() {
    Size size{.residencies = residencies_};
    size.idle_micros = Median(AcquireMicros());

    const double bare = AnonymousKib();
    std::vector<PipedProcess> workers;
    for (int i = 0; i < residencies_; ++i) {
      workers.push_back(PipedProcess(
          kSelf, {"--hold", daemon_.endpoint(), std::to_string(i), std::to_string(residencies_)}));
    }
    for (PipedProcess& worker : workers) worker.Read();
    const double connected = AnonymousKib();
    for (PipedProcess& worker : workers) worker.Continue();
    for (PipedProcess& worker : workers) worker.Read();
    AwaitLeases(daemon_, static_cast<uint32_t>(size.leases()));
    size.connection_kib = (connected - bare) / residencies_;
    size.lease_kib = (AnonymousKib() - connected) / size.leases();

    const std::vector<double> held = AcquireMicros();
    size.held_micros = Median(held);
    size.held_micros_p99 = Percentile(held, 0.99);
    size.list_millis = ListMillis();
    size.ps_millis = PsMillis();
    return size;
  }

 private:
  // When it does not change any more: what a load needed is given back a moment later.
  double AnonymousKib() const {
    double before = 0;
    double now = static_cast<double>(AnonymousBytes(daemon_.pid())) / 1024;
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      before = std::exchange(now, static_cast<double>(AnonymousBytes(daemon_.pid())) / 1024);
    } while (before != now);
    return now;
  }

  // Of one residency after another, let go at once.
  std::vector<double> AcquireMicros() {
    std::vector<double> micros;
    for (int i = 0; i < kAcquires; ++i) {
      std::shared_ptr<const Model> model;
      micros.push_back(1000 * TimeMillis([&] {
                         model = client_->Acquire({.reference = Name(i % residencies_)});
                       }));
    }
    return micros;
  }

  double ListMillis() {
    test::RpcClient rpc(daemon_.socket());
    std::vector<double> millis;
    for (int i = 0; i < kListings; ++i) {
      millis.push_back(TimeMillis([&] {
        if (OrDie(rpc.List()).size() != static_cast<size_t>(residencies_)) {
          Die("residencies are missing in the list");
        }
      }));
    }
    return Median(millis);
  }

  double PsMillis() {
    const wire::UniqueFd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    std::vector<double> millis;
    for (int i = 0; i < kListings; ++i) {
      millis.push_back(TimeMillis([&] {
        auto ps = OrDie(base::ChildProcess::Spawn({.path = test::BinDir() + "/modelctl",
                                                   .args = {"-H", daemon_.endpoint(), "ps"},
                                                   .fds = {{nowhere.get(), STDOUT_FILENO}}}));
        if (!ps.Wait()->ok()) Die("modelctl ps fails");
      }));
    }
    return Median(millis);
  }

  const int residencies_;
  test::DaemonFixture daemon_;
  std::shared_ptr<Client> client_;
};

class Table {
 public:
  bool ok() const { return ok_; }

  // `idle_micros`: of the smallest daemon. Bounds are for the largest one.
  void Add(const Size& size, double idle_micros, bool largest) {
    const std::string at = "N = " + std::to_string(size.residencies) + ": ";
    Show(AtMost(at + "acquire, all held, p50 / p50 of an idle daemon", size.held_micros,
                idle_micros, "us", 0));
    Show(AtMost(at + "acquire, all held, p99 / p50 of an idle daemon", size.held_micros_p99,
                idle_micros, "us", largest ? kMaxSlowdown : 0));
    const std::string lease = at + "memory of modeld for a lease";
    const std::string connection = at + "memory of modeld for a connection";
    Show(largest ? Within(lease, size.lease_kib, 0, "KiB", kMaxKibPerLease)
                 : Only(lease, size.lease_kib, "KiB"));
    Show(largest ? Within(connection, size.connection_kib, 0, "KiB", kMaxKibPerConnection)
                 : Only(connection, size.connection_kib, "KiB"));
    Show(AtMost(at + "modelctl ps / ListResidencies", size.ps_millis, size.list_millis, "ms", 0));
  }

  // Linear in the number of residencies, leases and connections, or better.
  void Grow(const Size& from, const Size& to) {
    const std::string sizes =
        ", N = " + std::to_string(to.residencies) + " / " + std::to_string(from.residencies);
    Show(AtMost("acquire, all held, p50" + sizes, to.held_micros, from.held_micros, "us", kGrowth));
    Show(AtMost("memory of all leases" + sizes, to.lease_kib * to.leases(),
                from.lease_kib * from.leases(), "KiB", kGrowth));
    Show(AtMost("memory of all connections" + sizes, to.connection_kib * to.residencies,
                from.connection_kib * from.residencies, "KiB", kGrowth));
    Show(AtMost("ListResidencies" + sizes, to.list_millis, from.list_millis, "ms", kGrowth));
  }

 private:
  void Show(const Row& row) {
    Print(row);
    ok_ &= row.holds;
  }

  bool ok_ = true;
};

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() == 4 && arguments[0] == "--hold") {
    return Hold(arguments[1], std::atoi(arguments[2].c_str()), std::atoi(arguments[3].c_str()));
  }
  const int largest = std::atoi(Environment("MODELD_BENCH_RESIDENCIES", "1000").c_str());
  if (largest < 100) Die("MODELD_BENCH_RESIDENCIES is not 100 or more");
  const uint64_t fds = RaiseFdLimit();
  Table table;
  std::vector<Size> sizes;
  for (const int residencies : {largest / 100, largest / 10, largest}) {
    const uint64_t needed = 256 + kFdsPerWorker * static_cast<uint64_t>(residencies);
    if (fds < needed) {
      Print({.name = "N = " + std::to_string(residencies) + ": not measured, ulimit -Hn is " +
                     std::to_string(fds) + ", not " + std::to_string(needed)});
      continue;
    }
    sizes.push_back(Measurement(residencies).Run());
    table.Add(sizes.back(), sizes.front().idle_micros, residencies == largest);
  }
  if (sizes.size() == 3) table.Grow(sizes[1], sizes[2]);
  return table.ok() ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main(int argc, char** argv) {
  return modeld::bench::RunBench([&] { return modeld::bench::Main({argv + 1, argv + argc}); });
}
