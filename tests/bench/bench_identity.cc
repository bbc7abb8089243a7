// A second load of equal content under another name: what it reads, and what it allocates. Once
// with its digest not known yet, when the agent has to read the file, and once with the digest
// cached, when the parser's samples are enough. In the page cache.

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "bench_folder.h"
#include "bench_table.h"
#include "bench_tools.h"
#include "modeld/client.h"
#include "process_usage.h"
#include "resident.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/temp_dir.h"

namespace modeld::bench {
namespace {

constexpr int kTensors = 512;                       // as many as samples are taken of
constexpr uint64_t kSampleBytes = kTensors * 4096;  // of a checkpoint
// What starting a parser reads: its libraries' headers; and modeld's own look-ups.
constexpr uint64_t kStartBytes = 512 << 10;
constexpr double kMib = 1 << 20;
// Digests of files that were modified within the last three seconds are not kept.
constexpr std::chrono::milliseconds kSettled{3500};

// The most that a process' memfds take while this lives, looked at every millisecond.
class MemfdWatch {
 public:
  explicit MemfdWatch(pid_t pid) : pid_(pid), thread_([this] { Run(); }) {}
  uint64_t Peak() {
    done_ = true;
    thread_.join();
    return peak_;
  }

 private:
  void Run() {
    while (!done_) {
      peak_ = std::max(peak_, MemfdBytes(pid_));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  const pid_t pid_;
  uint64_t peak_ = 0;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

class Bench {
 public:
  Bench()
      : daemon_({.host_capacity = "75%",
                 .roots = {files_.path()},
                 .args = {"--state-dir", state_ / "s"}}) {
    if (!daemon_.running()) Die("no daemon");
    test::CheckpointSpec spec = test::LargeSpec(BenchBytes(2), kTensors);
    spec.metadata = {{"name", "one"}};
    file_bytes_ = std::filesystem::file_size(test::WriteCheckpoint(files_ / "one", spec));
    spec.metadata = {{"name", "another"}};
    test::WriteCheckpoint(files_ / "another", spec);
    AwaitSettled(files_ / "another");
    client_ = Client::Connect(daemon_.endpoint());
  }

  bool Run() {
    NotCached();
    EvictAll(daemon_);
    Cached();
    return ok_;
  }

 private:
  void Show(const Row& row) {
    Print(row);
    ok_ &= row.holds;
  }

  static void AwaitSettled(const std::string& path) {
    Await("a file that is not new", [&] {
      struct stat status = {};
      if (::stat(path.c_str(), &status) != 0) Die("no " + path);
      const auto modified =
          std::chrono::seconds(std::max(status.st_mtim.tv_sec, status.st_ctim.tv_sec));
      return std::chrono::system_clock::now().time_since_epoch() > modified + kSettled;
    });
  }

  void AwaitCached(size_t count) {
    Await("cached digests", [&] {
      std::error_code error;
      const std::filesystem::directory_iterator files(state_ / "s/digests", error);
      return !error && static_cast<size_t>(
                           std::distance(files, std::filesystem::directory_iterator())) >= count;
    });
  }

  double Acquire(const std::string& name, std::shared_ptr<const Model>* model) {
    return TimeMillis([&] { *model = client_->Acquire({.reference = files_ / name}); });
  }

  void SeeThatTheyAreOne(const Model& one, const Model& another) {
    if (one.residency_id() != another.residency_id()) Die("equal content is resident twice");
    if (another.metadata("name") != "another") Die("the reference's own metadata are not there");
  }

  void NotCached() {
    std::shared_ptr<const Model> one;
    std::shared_ptr<const Model> another;
    const double first = Acquire("one", &one);
    AwaitDigests(daemon_);
    AwaitCached(1);
    const pid_t agent = daemon_.agent_pid();
    const uint64_t before = MemfdBytes(agent);
    const uint64_t read = BytesReadBy(agent).asked;
    MemfdWatch watch(agent);
    const double second = Acquire("another", &another);
    const uint64_t peak = watch.Peak();
    const double asked = static_cast<double>(BytesReadBy(agent).asked - read);
    SeeThatTheyAreOne(*one, *another);
    Show(AtMost("equal content, digest not cached: read by the agent / file", asked / kMib,
                static_cast<double>(file_bytes_) / kMib, "MiB", 1.01));
    Show(AtMost("equal content, digest not cached: segments, peak / before",
                static_cast<double>(peak) / kMib, static_cast<double>(before) / kMib, "MiB", 1.01));
    Show(AtMost("equal content, digest not cached: acquire / first load", second, first, "ms", 0));
    AwaitCached(2);
  }

  void Cached() {
    std::shared_ptr<const Model> one;
    std::shared_ptr<const Model> another;
    const double first = Acquire("one", &one);
    AwaitDigests(daemon_);
    const pid_t agent = daemon_.agent_pid();
    const uint64_t before = MemfdBytes(agent);
    const uint64_t read = BytesReadBy(agent).asked;
    const uint64_t read_by_modeld = BytesReadBy(daemon_.pid()).asked;
    MemfdWatch watch(agent);
    const double second = Acquire("another", &another);
    const uint64_t peak = watch.Peak();
    const uint64_t asked =
        BytesReadBy(agent).asked - read + BytesReadBy(daemon_.pid()).asked - read_by_modeld;
    SeeThatTheyAreOne(*one, *another);
    Show(Within("equal content, digest cached: read by modeld, parser and agent",
                static_cast<double>(asked) / kMib, static_cast<double>(file_bytes_) / kMib, "MiB",
                static_cast<double>(kSampleBytes + kStartBytes) / kMib));
    Show(AtMost("equal content, digest cached: segments, peak / before",
                static_cast<double>(peak) / kMib, static_cast<double>(before) / kMib, "MiB", 1.01));
    Show(AtMost("equal content, digest cached: acquire / first load", second, first, "ms", 0));
  }

  const test::TempDir state_;
  const BenchFolder files_;
  test::DaemonFixture daemon_;
  std::shared_ptr<Client> client_;
  uint64_t file_bytes_ = 0;
  bool ok_ = true;
};

}  // namespace
}  // namespace modeld::bench

int main() {
  return modeld::bench::RunBench([] { return modeld::bench::Bench().Run() ? 0 : 1; });
}
