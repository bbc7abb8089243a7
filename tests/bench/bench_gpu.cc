// The GPU tier against bare CUDA in the same run: loads against a copy from page-locked memory,
// attaches against the import calls, the memory of 1, 2, 4 and 8 workers, and torch's own loads.
//
//   bench_gpu              on the first GPU of this machine; 77 where there is none
//   bench_gpu --fake DIR   on tests/fake_cudart in DIR: shows that this works. Its figures mean
//   nothing,
//                          and no bound is held
//
// MODELD_BENCH_GIB (default 8; a GPU of the fake: 1/16) is the checkpoint's size, MODELD_BENCH_DIR
// where it is written, MODELD_BENCH_PYTHON a Python with torch. MODELD_BENCH_OUT gets memory.csv
// and memory.txt.

#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/child_process.h"
#include "bench_table.h"
#include "bench_tools.h"
#include "gpu/peer.h"
#include "modeld/client.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/rpc_client.h"
#include "support/test_gpus.h"
#include "wire/unique_fd.h"

namespace modeld::bench {
namespace {

constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr uint64_t kPinnedBytes = 32 * kMib;
constexpr int kRepetitions = 5;
constexpr char kReference[] = "bench.safetensors";

void Check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) Die(std::string(what) + ": " + cudaGetErrorString(error));
}

// As fast as this machine fills a GPU: four page-locked buffers, two streams, nothing read.
class PinnedCopy {
 public:
  explicit PinnedCopy(uint64_t bytes) : bytes_(bytes) {
    for (void*& buffer : buffers_) {
      Check(cudaHostAlloc(&buffer, kPinnedBytes, cudaHostAllocDefault), "page-locked memory");
      std::memset(buffer, 1, kPinnedBytes);
    }
    for (cudaStream_t& stream : streams_) {
      Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    }
  }

  // Allocating and freeing are in it, as they are in a load.
  void Run() {
    void* device = nullptr;
    Check(cudaMalloc(&device, bytes_), "device memory");
    for (uint64_t at = 0, i = 0; at < bytes_; at += kPinnedBytes, ++i) {
      Check(cudaMemcpyAsync(static_cast<char*>(device) + at, buffers_[i % 4],
                            std::min(kPinnedBytes, bytes_ - at), cudaMemcpyHostToDevice,
                            streams_[i % 2]),
            "a copy");
    }
    for (cudaStream_t stream : streams_) Check(cudaStreamSynchronize(stream), "the copies");
    Check(cudaFree(device), "freeing");
  }

 private:
  const uint64_t bytes_;
  void* buffers_[4] = {};
  cudaStream_t streams_[2] = {};
};

// A process that holds the model until its input ends.
class Holder {
 public:
  explicit Holder(const std::string& endpoint) {
    int in[2];
    int out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) Die("no pipes");
    input_.reset(in[1]);
    const wire::UniqueFd output(out[0]);
    const wire::UniqueFd their_input(in[0]);
    wire::UniqueFd their_output(out[1]);
    process_ = OrDie(base::ChildProcess::Spawn(
        {.path = "/proc/self/exe",
         .args = {"--hold", endpoint},
         .fds = {{their_input.get(), STDIN_FILENO}, {their_output.get(), STDOUT_FILENO}}}));
    their_output.reset();
    char byte = 0;
    if (::read(output.get(), &byte, 1) != 1) Die("a worker does not get the model");
  }

 private:
  base::ChildProcess process_;
  wire::UniqueFd input_;
};

int Hold(const std::string& endpoint) {
  const auto client = Client::Connect(endpoint);
  const auto model = client->Acquire({.reference = kReference, .device = "cuda:0"});
  if (::write(STDOUT_FILENO, "+", 1) != 1) return 1;
  char byte = 0;
  return ::read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
}

class Bench {
 public:
  Bench(uint64_t bytes, bool fake)
      : bytes_(bytes),
        fake_(fake),
        directory_(BenchDirectory()),
        daemon_({.host_capacity = "75%",
                 .roots = {directory_},
                 .config = "gpu_capacity = [\"95%\"]\n"}),
        admin_(daemon_.socket("admin.sock")),
        path_(directory_ + "/" + kReference) {
    if (!daemon_.running()) Die("modeld does not start");
    test::WriteCheckpoint(path_, test::LargeSpec(bytes));
  }
  ~Bench() { ::unlink(path_.c_str()); }

  bool Run() {
    Loads();
    Attach();
    Memory();
    Torch();
    return ok_;
  }

 private:
  void Show(Row row) {
    if (fake_) {
      row.name = "(fake) " + row.name;
      row.bound.clear();
    }
    Print(row);
    ok_ = ok_ && (fake_ || row.holds);
  }

  double GigabytesPerSecond(double seconds) const {
    return static_cast<double>(bytes_) / seconds / 1e9;
  }

  v1::Residency Load(const std::string& device) {
    v1::ModelSpec spec;
    spec.set_reference(kReference);
    spec.set_device(device);
    return OrDie(admin_.Preload(spec));
  }

  // The residency is gone when it returns.
  double TimeGpuLoad() {
    v1::Residency residency;
    const double seconds = Seconds([&] { residency = Load(gpus_[0]); });
    OrDie(admin_.Evict(residency.id()));
    return seconds;
  }

  // In alternation with the bare copy.
  void Loads() {
    PinnedCopy bare(bytes_);
    for (const bool from_host : {false, true}) {
      if (from_host) Load("host");
      std::vector<double> loads;
      std::vector<double> copies;
      for (int i = 0; i <= kRepetitions; ++i) {
        const double load = TimeGpuLoad();
        const double copy = Seconds([&] { bare.Run(); });
        // The first round makes contexts and page-locked memory, and fills the page cache.
        if (i == 0) continue;
        loads.push_back(GigabytesPerSecond(load));
        copies.push_back(GigabytesPerSecond(copy));
      }
      Show(AtLeast(from_host ? "load to a GPU, host tier / pinned copy"
                             : "load to a GPU, page cache / pinned copy",
                   Median(loads), Median(copies), "GB/s", from_host ? 0.9 : 0.85));
      if (!from_host) page_cache_seconds_ = static_cast<double>(bytes_) / 1e9 / Median(loads);
    }
  }

  // By a process with a context and an open connection, against the calls that map as much.
  void Attach() {
    Load(gpus_[0]);
    const auto client = Client::Connect(daemon_.endpoint());
    std::vector<double> attaches;
    std::vector<double> imports;
    for (int i = 0; i <= kRepetitions; ++i) {
      std::shared_ptr<const Model> model;
      const double attach =
          Seconds([&] { model = client->Acquire({.reference = kReference, .device = "cuda:0"}); });
      model.reset();
      if (i > 0) attaches.push_back(attach * 1e3);
    }
    const uint64_t bytes = OrDie(admin_.Device(gpus_[0])).resident_bytes();
    gpu_test::Peer exporter;
    exporter.Send("allocate vmm " + std::to_string(bytes));
    gpu_test::Handle handle;
    if (exporter.Receive(&handle) != "ok") Die("no room on the GPU for a second copy to import");
    for (int i = 0; i < kRepetitions; ++i) {
      gpu_test::Peer importer;
      importer.Ask("context");
      std::istringstream reply(importer.Ask("import vmm " + std::to_string(bytes), &handle));
      std::string verdict;
      double nanos = 0;
      reply >> verdict >> nanos;
      if (verdict != "ok") Die("a bare import: " + reply.str());
      imports.push_back(nanos / 1e6);
    }
    Row row = AtMost(absl::StrFormat("attach, %.1f GiB on a GPU / bare import calls",
                                     static_cast<double>(bytes) / (1 << 30)),
                     Median(attaches), Median(imports), "ms", 0);
    row.bound = "<= 5 ms";
    row.holds = Median(attaches) <= 5;
    Show(std::move(row));
  }

  // What the GPU's memory is short of for N workers, against N private copies.
  void Memory() {
    const uint64_t resident = OrDie(admin_.Device(gpus_[0])).resident_bytes();
    const uint64_t with_model = gpus_.FreeBytes(0);
    const std::string out = Environment("MODELD_BENCH_OUT", ".");
    std::ofstream csv(out + "/memory.csv");
    std::ofstream plot(out + "/memory.txt");
    csv << "workers,weights_bytes,taken_bytes,of_private_copies_bytes\n";
    plot << "Memory of the GPU, one # for a quarter of the weights: . with a copy each\n";
    for (const int count : {1, 2, 4, 8}) {
      std::vector<Holder> holders;
      for (int i = 0; i < count; ++i) holders.emplace_back(daemon_.endpoint());
      const uint64_t free = gpus_.FreeBytes(0);
      const uint64_t contexts = with_model > free ? with_model - free : 0;
      const uint64_t taken = resident + contexts;
      const uint64_t of_copies = static_cast<uint64_t>(count) * resident + contexts;
      csv << count << ',' << resident << ',' << taken << ',' << of_copies << '\n';
      plot << absl::StrFormat(
          "%d  %s%s %.2f GiB instead of %.2f\n", count, std::string(taken * 4 / resident, '#'),
          std::string((of_copies - taken) * 4 / resident, '.'),
          static_cast<double>(taken) / (1 << 30), static_cast<double>(of_copies) / (1 << 30));
      Show(AtMost(absl::StrFormat("memory on a GPU, N = %d workers / a copy each", count),
                  static_cast<double>(taken) / kMib, static_cast<double>(of_copies) / kMib, "MiB",
                  0));
    }
  }

  // torch_load.py prints `NAME SECONDS` lines, or why not.
  void Torch() {
    std::unique_ptr<FILE, int (*)(FILE*)> lines(
        ::popen((Environment("MODELD_BENCH_PYTHON", "python3") +
                 " " MODELD_BENCH_SOURCE_DIR "/torch_load.py " + path_ + " " + directory_)
                    .c_str(),
                "r"),
        ::pclose);
    char line[256];
    while (lines != nullptr && std::fgets(line, sizeof(line), lines.get()) != nullptr) {
      char name[128];
      double seconds = 0;
      if (std::sscanf(line, "%127s %lf", name, &seconds) == 2) {
        Show(AtLeast(std::string("load to a GPU, page cache / ") + name,
                     GigabytesPerSecond(page_cache_seconds_), GigabytesPerSecond(seconds), "GB/s",
                     1));
      } else {
        std::fprintf(stderr, "bench_gpu: %s", line);
      }
    }
  }

  const uint64_t bytes_;
  const bool fake_;
  const std::string directory_;
  test::TestGpus gpus_;
  test::DaemonFixture daemon_;
  test::RpcClient admin_;
  const std::string path_;
  double page_cache_seconds_ = 0;
  bool ok_ = true;
};

// The loader has read LD_LIBRARY_PATH by now, so this program begins once more.
[[noreturn]] void BeginOnFake(const std::string& directory, char* program) {
  char devices[64];
  std::snprintf(devices, sizeof(devices), "GPU-be4c0000-%04x-4000-8000-00000000000a:16GiB",
                static_cast<unsigned>(::getpid()) & 0xffff);
  ::setenv("LD_LIBRARY_PATH", directory.c_str(), 1);
  ::setenv("FAKE_CUDA_DEVICES", devices, 1);
  ::setenv("FAKE_CUDA_CONTEXT", "16MiB", 1);
  char option[] = "--on-fake";
  char* const arguments[] = {program, option, nullptr};
  ::execv("/proc/self/exe", arguments);
  Die("cannot begin again");
}

int Main(int argc, char** argv) {
  const std::string option = argc > 1 ? argv[1] : "";
  if (option == "--hold" && argc == 3) return Hold(argv[2]);
  if (option == "--peer" && argc == 3) return gpu_test::RunPeer(std::atoi(argv[2]));
  if (option == "--fake" && argc == 3) BeginOnFake(argv[2], argv[0]);
  const bool fake = option == "--on-fake";
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    Print({.name = "GPUs: not measured, CUDA shows none"});
    return kNothingToMeasure;
  }
  ::setenv("MODELD_TEST_REAL_GPUS", "1", 1);
  if (fake) Print({.name = "GPUs of tests/fake_cudart: these figures mean nothing"});
  return Bench(BenchBytes(fake ? 0.0625 : 8), fake).Run() ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main(int argc, char** argv) {
  return modeld::bench::RunBench([&] { return modeld::bench::Main(argc, argv); });
}
