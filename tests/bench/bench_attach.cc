// Attaching to a model that is resident, against a bare gRPC call over the same kind of socket
// between the same kind of processes. In alternation, medians.
//
// The program is its own echo server and its own workers: `bench_attach --MODE ...`.

#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench_table.h"
#include "bench_tools.h"
#include "echo_server.h"
#include "many_tensors.h"
#include "modeld/client.h"
#include "piped_process.h"
#include "resident.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/rpc_client.h"

namespace modeld::bench {
namespace {

constexpr uint64_t kMib = 1 << 20;
constexpr int kLeases = 1000;
constexpr int kWorkers = 500;

// A checkpoint of zeros that takes no room on the disk.
void WriteSparse(const std::string& path, uint64_t bytes) {
  const test::CheckpointSpec spec = test::LargeSpec(bytes);
  const std::string header = test::SafetensorsHeader(spec);
  std::ofstream(path, std::ios::binary) << header;
  if (truncate(path.c_str(), static_cast<off_t>(header.size() + spec.tensor_bytes())) != 0) {
    Die("cannot make " + path);
  }
}

// Reads the first element of the last tensor: the model is usable.
void Use(const Model& model) {
  const TensorView tensor = model[model.size() - 1];
  static volatile unsigned char sink;
  sink = *static_cast<const unsigned char*>(tensor.data);
  (void)sink;
}

// ---- workers ----

int WorkUntilStdinEnds(Clock::time_point started) {
  Say(Millis(Clock::now() - started));
  NextTurn();
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
        echo_server_(kSelf, {"--echo-server", echo_socket_}),
        echo_(echo_socket_) {
    if (!daemon_.running()) Die("no daemon");
    WriteSparse(daemon_.root() + "/small", 16 * kMib);
    WriteSparse(daemon_.root() + "/large", 4096 * kMib);
    test::WriteCheckpoint(daemon_.root() + "/many", ManyTensors());
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
    Show(Within("attach, 100,000 tensors / 16", Median(many), Median(small), "ms", 20));
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
      echo.push_back(PipedProcess(kSelf, {"--echo", echo_socket_}).Read());
      attach.push_back(PipedProcess(kSelf, {"--attach", daemon_.endpoint(), "small"}).Read());
    }
    Show(Within("new process, main() to tensors / unary echo", Median(attach), Median(echo), "ms",
                6));
  }

  void ManyLeases() {
    std::vector<std::shared_ptr<const Model>> models;
    const double millis = TimeMillis([&] {
      for (int i = 0; i < kLeases; ++i) {
        models.push_back(client_->Acquire({.reference = "link" + std::to_string(i)}));
      }
    });
    AwaitLeases(daemon_, kLeases);
    const double echo = TimeMillis([&] {
      for (int i = 0; i < kLeases; ++i) echo_.Echo();
    });
    Show(AtMost("1,000 leases in one process / 1,000 unary echoes", millis, echo, "ms", 0));
    models.clear();
    AwaitLeases(daemon_, 0);
  }

  void ManyProcesses() {
    const double echo = ManyWorkers({"--echo", echo_socket_}, 0);
    const double attach = ManyWorkers({"--attach", daemon_.endpoint(), "small"}, kWorkers);
    Show(AtMost("500 processes at once, all attached / all echoed", attach, echo, "ms", 0));
    AwaitLeases(daemon_, 0);
  }

  double ManyWorkers(const std::vector<std::string>& arguments, uint32_t leases) {
    std::vector<PipedProcess> workers;
    const double millis = TimeMillis([&] {
      for (int i = 0; i < kWorkers; ++i) workers.emplace_back(kSelf, arguments);
      for (PipedProcess& worker : workers) worker.Read();
    });
    AwaitLeases(daemon_, leases);
    return millis;
  }

  test::DaemonFixture daemon_;
  const std::string echo_socket_;
  PipedProcess echo_server_;
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
  return modeld::bench::RunBench([&] {
    return modeld::bench::Main(started, {argv + 1, argv + argc});
  });
}
