// Casts against memcpy of the bytes that they read, and loads that cast against loads of the same
// file that do not. In alternation, medians; GB/s are of what is read.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench_table.h"
#include "memory/copy_pipeline.h"
#include "memory/host_segment.h"
#include "plan/cast.h"
#include "support/load_jobs.h"
#include "support/temp_dir.h"

namespace modeld::bench {
namespace {

using plan::Cast;
using wire::DType;

constexpr int kRepetitions = 5;

// What happens to weights, and what is the most work.
constexpr Cast kCasts[] = {
    {DType::kF32, DType::kBF16}, {DType::kF32, DType::kF16},  {DType::kBF16, DType::kF32},
    {DType::kF16, DType::kF32},  {DType::kBF16, DType::kF16}, {DType::kF64, DType::kF16},
};

std::string NameOf(const Cast& cast) {
  return std::string(wire::DTypeName(cast.from)) + " to " + std::string(wire::DTypeName(cast.to));
}

double Seconds(const std::function<void()>& what) {
  const auto start = std::chrono::steady_clock::now();
  what();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Each operation once a round, each round in another order; the first round does not count.
std::map<std::string, double> Medians(
    std::vector<std::pair<std::string, std::function<double()>>> operations) {
  std::map<std::string, std::vector<double>> values;
  for (int round = 0; round <= kRepetitions; ++round) {
    std::rotate(operations.begin(), operations.begin() + 1, operations.end());
    for (const auto& [name, operation] : operations) {
      const double value = operation();
      if (round > 0) values[name].push_back(value);
    }
  }
  std::map<std::string, double> medians;
  for (const auto& [name, list] : values) medians[name] = Median(list);
  return medians;
}

// One thread, from memory to memory that is there already, in stretches of which a reader's buffer
// holds one.
bool CastsAgainstMemcpy() {
  constexpr uint64_t kBytes = 64 << 20;
  constexpr uint64_t kStretchBytes = 512 << 10;
  std::vector<std::byte> in(kBytes);
  std::vector<std::byte> out(2 * kBytes);
  // Weights: no NaN, few subnormals, and as floats of every type.
  std::mt19937_64 random(1);
  for (uint64_t at = 0; at < kBytes; at += 2) {
    const auto element = static_cast<uint16_t>((random() & 0x83ff) | 0x3000);
    std::memcpy(&in[at], &element, sizeof(element));
  }
  const auto run = [&](double growth,
                       const std::function<void(std::span<const std::byte>, std::byte*)>& what) {
    return static_cast<double>(kBytes) / 1e9 / Seconds([&] {
             for (uint64_t at = 0; at < kBytes; at += kStretchBytes) {
               what(std::span(in).subspan(at, kStretchBytes),
                    out.data() + static_cast<uint64_t>(static_cast<double>(at) * growth));
             }
           });
  };
  std::vector<std::pair<std::string, std::function<double()>>> operations = {
      {"memcpy", [&] {
         return run(1, [](std::span<const std::byte> from, std::byte* to) {
           std::memcpy(to, from.data(), from.size());
         });
       }}};
  for (const Cast& cast : kCasts) {
    const double growth =
        static_cast<double>(cast.to_bytes()) / static_cast<double>(cast.from_bytes());
    operations.push_back({NameOf(cast), [&run, &cast, growth] {
                            return run(growth, [&](std::span<const std::byte> from, std::byte* to) {
                              const uint64_t size = from.size() / cast.from_bytes();
                              plan::CastElements(cast, from, {to, size * cast.to_bytes()});
                            });
                          }});
  }
  const auto speeds = Medians(operations);
  bool ok = true;
  for (const Cast& cast : kCasts) {
    const Row row = AtLeast("cast, " + NameOf(cast) + " / memcpy of what it reads",
                            speeds.at(NameOf(cast)), speeds.at("memcpy"), "GB/s", 0.15);
    Print(row);
    ok &= row.holds;
  }
  return ok;
}

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "bench_cast: %s\n", status.ToString().c_str());
  std::exit(1);
}

// A virtual machine gives free memory back to its host after a moment, and gets it again slowly:
// all start from memory that was freed just now.
void FreeJustNow(memory::HostAllocator& allocator, uint64_t size_bytes) {
  auto fill = allocator.Allocate("bench", size_bytes);
  if (!fill.ok()) Die(fill.status());
  const auto segment = (*fill)->Export();  // with every page
  if (!segment.ok()) Die(segment.status());
}

void LoadsAgainstLoads(DType stored, const std::vector<DType>& targets) {
  constexpr int64_t kTensors = 16;
  const char* directory = ::getenv("MODELD_BENCH_DIR");
  const test::TempDir own;
  const std::string path = (directory != nullptr ? std::string(directory) : own.path()) +
                           "/modeld-bench-cast.safetensors";
  test::CheckpointSpec spec;
  for (int64_t i = 0; i < kTensors; ++i) {
    spec.tensors.push_back({.name = "layer." + std::to_string(i),
                            .dtype = stored,
                            .shape = {(int64_t{32} << 20) * 8 / wire::DTypeBits(stored)}});
  }
  test::WriteCheckpoint(path, spec);
  const auto plan = [&](const plan::LoadConfig& config) {
    std::vector<plan::OpenFile> files;
    files.push_back(test::OpenAt(path));
    wire::TableBuilder table;
    table.AddRegion(files.front().identity.size_bytes);
    test::AddToTable(spec, 0, "", &table);
    return test::JobFor("bench", std::move(files), table, config);
  };
  std::map<std::string, residency::LoadJob> jobs;
  jobs.emplace("as stored", plan({}));
  for (const DType to : targets) jobs.emplace(NameOf({stored, to}), plan({.cast = to}));
  uint64_t most_bytes = 0;
  for (const auto& [name, job] : jobs) {
    most_bytes = std::max(most_bytes, job.plan->resident_bytes());
  }
  memory::HostAllocator allocator(memory::ProbePages());
  const auto load = [&](const residency::LoadJob& job, bool cold) {
    const plan::OpenFile& file = job.checkpoint->files.front();
    if (cold) {
      ::fdatasync(file.fd.get());
      ::posix_fadvise(file.fd.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
    FreeJustNow(allocator, most_bytes);
    const double seconds = Seconds([&] {
      const auto loaded = memory::LoadSegments(allocator, "bench", job.checkpoint->files,
                                               job.plan->ranges, job.plan->segment_sizes, {});
      if (!loaded.ok()) Die(loaded.status());
    });
    return static_cast<double>(file.identity.size_bytes) / 1e9 / seconds;
  };
  for (const bool cold : {true, false}) {
    std::vector<std::pair<std::string, std::function<double()>>> operations;
    for (const auto& [name, job] : jobs) {
      operations.push_back({name, [&load, &job = job, cold] { return load(job, cold); }});
    }
    const auto speeds = Medians(operations);
    for (const DType to : targets) {
      const std::string name = NameOf({stored, to});
      Print(AtLeast("load, " + name + (cold ? ", cold" : ", warm") + " / without a cast",
                    speeds.at(name), speeds.at("as stored"), "GB/s", 0));
    }
  }
  ::unlink(path.c_str());
}

int Main() {
  const bool ok = CastsAgainstMemcpy();
  LoadsAgainstLoads(DType::kF32, {DType::kBF16, DType::kF16});
  LoadsAgainstLoads(DType::kBF16, {DType::kF16, DType::kF32});
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main() { return modeld::bench::Main(); }
