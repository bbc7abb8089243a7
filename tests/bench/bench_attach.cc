// Attaching to a model that is resident, against a bare gRPC call over the same kind of socket
// between the same kind of processes. In alternation, medians.
//
// The program is its own echo server and its own workers: `bench_attach --MODE ...`.

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench_table.h"
#include "echo_server.h"
#include "modeld/client.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kMib = 1 << 20;
constexpr int kLeases = 1000;
constexpr int kWorkers = 500;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "bench_attach: %s\n", what.c_str());
  std::exit(1);
}

double Millis(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double TimeMillis(const std::function<void()>& what) {
  const auto start = Clock::now();
  what();
  return Millis(Clock::now() - start);
}

// A bound in the unit of the measurement itself.
Row Below(std::string name, double millis, double baseline_millis, double limit_millis) {
  Row row = AtMost(std::move(name), millis, baseline_millis, "ms", 0);
  char text[32];
  std::snprintf(text, sizeof(text), "<= %.0f ms", limit_millis);
  row.bound = text;
  row.holds = millis <= limit_millis;
  return row;
}

// A checkpoint of zeros that takes no room on the disk.
void WriteSparse(const std::string& path, uint64_t bytes) {
  const test::CheckpointSpec spec = test::LargeSpec(bytes);
  const std::string header = test::SafetensorsHeader(spec);
  std::ofstream(path, std::ios::binary) << header;
  if (truncate(path.c_str(), static_cast<off_t>(header.size() + spec.tensor_bytes())) != 0) {
    Die("cannot make " + path);
  }
}

test::CheckpointSpec ManyTensors(int count) {
  test::CheckpointSpec spec;
  for (int i = 0; i < count; ++i) {
    spec.tensors.push_back({.name = "block." + std::to_string(i / 100) + ".layer." +
                                    std::to_string(i % 100) + ".weight",
                            .shape = {4, 4}});
  }
  return spec;
}

// Reads the first element of the last tensor: the model is usable.
void Use(const Model& model) {
  const TensorView tensor = model[model.size() - 1];
  static volatile unsigned char sink;
  sink = *static_cast<const unsigned char*>(tensor.data);
  (void)sink;
}

// ---- workers ----

// Another bench_attach, with pipes to its stdin and from its stdout.
class Worker {
 public:
  explicit Worker(std::vector<std::string> arguments) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) Die("no pipes");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    arguments.insert(arguments.begin(), "bench_attach");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    if (posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv.data(), environ) != 0) {
      Die("cannot start a worker");
    }
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    in_ = in[1];
    out_ = fdopen(out[0], "r");
  }
  Worker(Worker&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        in_(std::exchange(other.in_, -1)),
        out_(std::exchange(other.out_, nullptr)) {}
  ~Worker() {
    if (pid_ < 0) return;
    close(in_);
    waitpid(pid_, nullptr, 0);
    fclose(out_);
  }

  // What it prints: milliseconds.
  double Read() {
    double value = 0;
    if (fscanf(out_, "%lf", &value) != 1) Die("a worker has failed");
    return value;
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  FILE* out_ = nullptr;
};

int WorkUntilStdinEnds(Clock::time_point started) {
  std::printf("%.4f\n", Millis(Clock::now() - started));
  std::fflush(stdout);
  char byte;
  (void)!read(0, &byte, 1);
  return 0;
}

int AttachWorker(Clock::time_point started, const std::string& endpoint,
                 const std::string& reference) {
  const auto model = Client::Connect(endpoint)->Acquire({.reference = reference});
  Use(*model);
  return WorkUntilStdinEnds(started);
}

int EchoWorker(Clock::time_point started, const std::string& socket) {
  EchoClient client(socket);
  client.Echo();
  return WorkUntilStdinEnds(started);
}

// ---- measurements ----

class Bench {
 public:
  Bench()
      : daemon_({.host_capacity = "8GiB"}),
        echo_socket_(daemon_.directory() + "/echo.sock"),
        echo_server_({"--echo-server", echo_socket_}),
        echo_(echo_socket_) {
    if (!daemon_.running()) Die("no daemon");
    WriteSparse(daemon_.root() + "/small", 16 * kMib);
    WriteSparse(daemon_.root() + "/large", 4096 * kMib);
    test::WriteCheckpoint(daemon_.root() + "/many", ManyTensors(100'000));
    for (int i = 0; i < kLeases; ++i) {
      const std::string link = daemon_.root() + "/link" + std::to_string(i);
      if (symlink("small", link.c_str()) != 0) Die("no symlinks");
    }
    test::RpcClient admin(daemon_.socket("admin.sock"));
    for (const char* reference : {"small", "large", "many"}) {
      const auto loaded = admin.Preload(reference);
      if (!loaded.ok()) Die(loaded.status().ToString());
    }
    client_ = Client::Connect(daemon_.endpoint());
    for (int i = 0; i < 200; ++i) {
      echo_.Echo();
      Attach("small");
    }
  }

  bool Run() {
    OpenConnection();
    Sizes();
    ManyTensorTable();
    Rates();
    NewProcess();
    ManyLeases();
    ManyProcesses();
    return ok_;
  }

 private:
  void Show(const Row& row) {
    Print(row);
    ok_ &= row.holds;
  }

  double Attach(const std::string& reference) {
    std::shared_ptr<const Model> model;
    return TimeMillis([&] {
      model = client_->Acquire({.reference = reference});
      Use(*model);
    });
  }

  void OpenConnection() {
    std::vector<double> attach, echo;
    for (int i = 0; i < 2000; ++i) {
      echo.push_back(TimeMillis([&] { echo_.Echo(); }));
      attach.push_back(Attach("small"));
    }
    Show(AtMost("attach, open connection / unary echo", 1000 * Median(attach), 1000 * Median(echo),
                "us", 2.0));
  }

  void Sizes() {
    std::vector<double> small, large;
    for (int i = 0; i < 1000; ++i) {
      small.push_back(Attach("small"));
      large.push_back(Attach("large"));
    }
    Show(AtMost("attach, 4 GiB / 16 MiB", 1000 * Median(large), 1000 * Median(small), "us", 1.1));
  }

  void ManyTensorTable() {
    std::vector<double> many, small;
    for (int i = 0; i < 50; ++i) {
      small.push_back(Attach("small"));
      many.push_back(Attach("many"));
    }
    Show(Below("attach, 100,000 tensors / 16", Median(many), Median(small), 20));
  }

  // A second of each in turn, so that both meet the same machine.
  void Rates() {
    const auto rate = [](const std::function<void()>& what) {
      const auto start = Clock::now();
      int count = 0;
      for (; Clock::now() - start < std::chrono::milliseconds(500); ++count) what();
      return 1000.0 * count / Millis(Clock::now() - start);
    };
    std::vector<double> pairs, streams;
    for (int i = 0; i < 5; ++i) {
      streams.push_back(rate([&] { echo_.OpenAndCancel(); }));
      pairs.push_back(rate([&] { Attach("small"); }));
    }
    Show(AtLeast("acquire and release, one thread / streaming calls", Median(pairs),
                 Median(streams), "1/s", 0));
  }

  void NewProcess() {
    std::vector<double> attach, echo;
    for (int i = 0; i < 100; ++i) {
      echo.push_back(Worker({"--echo", echo_socket_}).Read());
      attach.push_back(Worker({"--attach", daemon_.endpoint(), "small"}).Read());
    }
    Show(Below("new process, main() to tensors / unary echo", Median(attach), Median(echo), 6));
  }

  void ManyLeases() {
    std::vector<std::shared_ptr<const Model>> models;
    const double millis = TimeMillis([&] {
      for (int i = 0; i < kLeases; ++i) {
        models.push_back(client_->Acquire({.reference = "link" + std::to_string(i)}));
      }
    });
    ExpectLeases(kLeases);
    const double echo = TimeMillis([&] {
      for (int i = 0; i < kLeases; ++i) echo_.Echo();
    });
    Show(AtMost("1,000 leases in one process / 1,000 unary echoes", millis, echo, "ms", 0));
    models.clear();
    ExpectLeases(0);
  }

  void ManyProcesses() {
    const double echo = ManyWorkers({"--echo", echo_socket_}, 0);
    const double attach = ManyWorkers({"--attach", daemon_.endpoint(), "small"}, kWorkers);
    Show(AtMost("500 processes at once, all attached / all echoed", attach, echo, "ms", 0));
    ExpectLeases(0);
  }

  double ManyWorkers(const std::vector<std::string>& arguments, uint32_t leases) {
    std::vector<Worker> workers;
    const double millis = TimeMillis([&] {
      for (int i = 0; i < kWorkers; ++i) workers.emplace_back(arguments);
      for (Worker& worker : workers) worker.Read();
    });
    ExpectLeases(leases);
    return millis;
  }

  void ExpectLeases(uint32_t count) {
    test::RpcClient rpc(daemon_.socket());
    const bool reached = test::Eventually([&] {
      const auto info = rpc.ServerInfo();
      return info.ok() && info->lease_count() == count;
    });
    if (!reached) Die("the daemon does not come to " + std::to_string(count) + " leases");
  }

  test::DaemonFixture daemon_;
  const std::string echo_socket_;
  Worker echo_server_;
  EchoClient echo_;
  std::shared_ptr<Client> client_;
  bool ok_ = true;
};

int Main(Clock::time_point started, const std::vector<std::string>& arguments) {
  if (arguments.size() == 2 && arguments[0] == "--echo-server") ServeEcho(arguments[1]);
  if (arguments.size() == 2 && arguments[0] == "--echo") return EchoWorker(started, arguments[1]);
  if (arguments.size() == 3 && arguments[0] == "--attach") {
    return AttachWorker(started, arguments[1], arguments[2]);
  }
  return Bench().Run() ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main(int argc, char** argv) {
  const auto started = std::chrono::steady_clock::now();
  return modeld::bench::Main(started, {argv + 1, argv + argc});
}
