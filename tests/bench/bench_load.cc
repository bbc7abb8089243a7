// Loading a checkpoint of a few GiB, through the memory library and through a real agent, against
// the bare operation into equally fresh memory with the same pages: O_DIRECT reads where the page
// cache was dropped, memcpy where the file is in it. In alternation, medians.

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench_table.h"
#include "bench_tools.h"
#include "large_checkpoint.h"
#include "memory/chunk_plan.h"
#include "memory/copy_pipeline.h"
#include "memory/host_pages.h"
#include "memory/host_segment.h"
#include "spdlog/spdlog.h"
#include "supervisor/agent_supervisor.h"
#include "support/backend_recorder.h"
#include "support/temp_dir.h"
#include "wire/memfd.h"

namespace modeld::bench {
namespace {

int Threads() {
  return std::min(4, std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
}

// Runs `chunk(offset, size)` over [0, total) on as many threads as a load has.
void InParallel(uint64_t total, const std::function<void(uint64_t, uint64_t)>& chunk) {
  std::atomic<uint64_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < Threads(); ++i) {
    threads.emplace_back([&] {
      while (true) {
        const uint64_t offset = next.fetch_add(memory::kChunkBytes);
        if (offset >= total) return;
        chunk(offset, std::min(memory::kChunkBytes, total - offset));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// What a load does apart from the reading and copying: fresh memory with these pages, faulted in by
// the thread that fills it.
void FillFresh(uint64_t total, memory::PageKind kind,
               const std::function<void(std::byte* to, uint64_t offset, uint64_t size)>& fill) {
  const uint64_t size_bytes =
      (total + memory::kHugePageBytes - 1) / memory::kHugePageBytes * memory::kHugePageBytes;
  auto fd = memory::CreateMemfd("bench", size_bytes, kind);
  Check(fd.status());
  auto mapping = memory::MapWritable(fd->get(), size_bytes, kind);
  Check(mapping.status());
  InParallel(size_bytes, [&](uint64_t offset, uint64_t size) {
    Check(memory::Populate(mapping->data() + offset, size, kind).status());
    if (offset < total) fill(mapping->data() + offset, offset, std::min(size, total - offset));
  });
}

void ReadDirect(int fd, std::byte* to, uint64_t offset, uint64_t size) {
  const uint64_t rounded = (size + 4095) / 4096 * 4096;
  if (::pread(fd, to, rounded, static_cast<off_t>(offset)) < static_cast<ssize_t>(size))
    Die("direct read");
}

void BareCold(const LargeCheckpoint& checkpoint, int direct_fd, memory::PageKind kind) {
  FillFresh(checkpoint.size_bytes(), kind, [&](std::byte* to, uint64_t offset, uint64_t size) {
    ReadDirect(direct_fd, to, offset, size);
  });
}

void BareWarm(const LargeCheckpoint& checkpoint, const std::byte* cached, memory::PageKind kind) {
  FillFresh(checkpoint.size_bytes(), kind, [&](std::byte* to, uint64_t offset, uint64_t size) {
    std::memcpy(to, cached + offset, size);
  });
}

// The bare operations into memory that is there already and reused.
void RawCold(const LargeCheckpoint& checkpoint, int direct_fd, std::byte* buffers) {
  std::atomic<int> threads{0};
  InParallel(checkpoint.size_bytes(), [&](uint64_t offset, uint64_t size) {
    thread_local const int self = threads.fetch_add(1);
    ReadDirect(direct_fd, buffers + static_cast<uint64_t>(self) * memory::kChunkBytes, offset,
               size);
  });
}

void RawWarm(const LargeCheckpoint& checkpoint, const std::byte* cached, std::byte* buffers) {
  std::atomic<int> threads{0};
  InParallel(checkpoint.size_bytes(), [&](uint64_t offset, uint64_t size) {
    thread_local const int self = threads.fetch_add(1);
    std::memcpy(buffers + static_cast<uint64_t>(self) * memory::kChunkBytes, cached + offset, size);
  });
}

// A real agent behind a real supervisor, as modeld has it.
class Agent {
 public:
  Agent() {
    supervisor::AgentSupervisor::Options options;
    options.socket_path = dir_ / "agent-host.sock";
    options.program_directory = MODELD_BIN_DIR;
    options.log_level = ::getenv("MODELD_BENCH_LOG") != nullptr ? "info" : "error";
    supervisor_ = std::make_unique<supervisor::AgentSupervisor>(options, &recorder_);
    Check(supervisor_->Start());
  }
  ~Agent() { supervisor_->Stop(false); }

  // Until it is granted.
  void Load(const residency::LoadJob& job) {
    supervisor_->Load(job);
    if (!recorder_.WaitLoaded(job.record.id)) Die("the agent did not load");
  }

  void Release(const std::string& id) {
    recorder_.Forget(id);
    supervisor_->Release(id);
    if (!recorder_.WaitReleased(id)) Die("the agent did not release");
    recorder_.Forget(id);
  }

 private:
  test::TempDir dir_;
  test::BackendRecorder recorder_;
  std::unique_ptr<supervisor::AgentSupervisor> supervisor_;
};

class Bench {
 public:
  Bench(const LargeCheckpoint& checkpoint, memory::PageKind best)
      : checkpoint_(checkpoint), best_(best) {
    direct_fd_ =
        wire::UniqueFd(::open(checkpoint.file().path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    if (!direct_fd_.valid())
      Die("this file system has no direct reads: set MODELD_BENCH_DIR to one that has");
    buffers_ = wire::Mapping(::mmap(nullptr, kBuffersBytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0),
                             kBuffersBytes);
  }

  bool Run(const memory::PageChoice& pages) {
    bool ok = true;
    for (const bool cold : {true, false}) {
      std::map<std::string, std::vector<double>> speeds;
      for (int i = 0; i <= (cold ? kColdRounds : kWarmRounds); ++i) {
        for (auto& [name, seconds] : Round(pages, cold)) {
          // The first round makes the machine give the memory that the others reuse.
          if (i > 0)
            speeds[name].push_back(static_cast<double>(checkpoint_.size_bytes()) / seconds / 1e9);
        }
      }
      const std::string suffix = std::string(cold ? ", cold, " : ", warm, ") +
                                 (pages.page_size_bytes > 4096 ? "2 MiB pages" : "4 KiB pages");
      const double bare = Median(speeds["bare"]);
      const double bound = cold ? 0.85 : 0.9;
      const char* against = cold ? " / direct reads" : " / memcpy";
      const auto print = [&](const std::string& name, double speed, double base, double limit) {
        const Row row = AtLeast(name, speed, base, "GB/s", limit);
        Print(row);
        ok &= row.holds;
      };
      print("load, library" + suffix + against, Median(speeds["library"]), bare, bound);
      print("load, library" + suffix + " / reused buffers", Median(speeds["library"]),
            Median(speeds["raw"]), 0);
      if (speeds.contains("agent")) {
        print("load, agent" + suffix + against, Median(speeds["agent"]), bare, bound);
      }
    }
    return ok;
  }

 private:
  static constexpr uint64_t kBuffersBytes = 4 * memory::kChunkBytes + (64 << 10);
  static constexpr int kColdRounds = 10;
  static constexpr int kWarmRounds = 20;

  // Each operation once, each round in another order: a disk that tires and recovers, or memory
  // that the machine hands out slower the second time, favours none.
  std::map<std::string, double> Round(const memory::PageChoice& pages, bool cold) {
    wire::Mapping cached;
    if (!cold) {
      checkpoint_.WarmCache();
      cached = wire::Mapping(::mmap(nullptr, checkpoint_.size_bytes(), PROT_READ,
                                    MAP_SHARED | MAP_POPULATE, checkpoint_.file().fd.get(), 0),
                             checkpoint_.size_bytes());
    }
    std::vector<std::pair<std::string, std::function<void()>>> operations = {
        {"library", [&] { LoadByLibrary(pages); }},
        {"bare",
         [&] {
           cold ? BareCold(checkpoint_, direct_fd_.get(), pages.kind)
                : BareWarm(checkpoint_, cached.data(), pages.kind);
         }},
        {"raw",
         [&] {
           cold ? RawCold(checkpoint_, direct_fd_.get(), buffers_.data())
                : RawWarm(checkpoint_, cached.data(), buffers_.data());
         }},
    };
    // The agent takes the pages that it found best, and no others.
    const bool with_agent = pages.kind == best_;
    if (with_agent) operations.push_back({"agent", [&] { agent_.Load(checkpoint_.job()); }});
    std::ranges::shuffle(operations, order_);
    std::map<std::string, double> seconds;
    for (const auto& [name, operation] : operations) {
      if (cold) checkpoint_.DropCache();
      // A virtual machine gives free memory back to its host after a moment, and gets it again
      // slowly: all start from memory that was freed just now.
      FillFresh(checkpoint_.size_bytes(), pages.kind, [](std::byte*, uint64_t, uint64_t) {});
      seconds[name] = Seconds(operation);
      if (name == "agent") agent_.Release(checkpoint_.job().record.id);
    }
    return seconds;
  }

  void LoadByLibrary(const memory::PageChoice& pages) {
    memory::HostAllocator allocator(pages);
    const auto loaded =
        memory::LoadSegments(allocator, "bench", {&checkpoint_.file(), 1},
                             checkpoint_.plan().ranges, checkpoint_.plan().segment_sizes, {});
    Check(loaded.status());
  }

  const LargeCheckpoint& checkpoint_;
  const memory::PageKind best_;
  Agent agent_;
  wire::UniqueFd direct_fd_;
  wire::Mapping buffers_;
  std::mt19937 order_;
};

int Main() {
  spdlog::set_level(spdlog::level::err);
  const LargeCheckpoint checkpoint(BenchDirectory(), BenchBytes(2));
  const memory::PageChoice best = memory::ProbePages();
  Bench bench(checkpoint, best.kind);
  bool ok = bench.Run(best);
  if (best.kind != memory::PageKind::kSmall) ok &= bench.Run(memory::PageChoice{});
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main() { return modeld::bench::RunBench(modeld::bench::Main); }
