#include "memory/copy_pipeline.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "memory/chunk_plan.h"
#include "memory/chunk_reader.h"
#include "memory/source_file.h"
#include "wire/error.h"
#include "wire/mutex.h"

namespace modeld::memory {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxDefaultThreads = 4;
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

// The state of one copy: readers take the next chunk until there is none, one fails, or nobody
// wants the result.
class Copy {
 public:
  Copy(std::span<const plan::OpenFile> files,
       std::span<const std::unique_ptr<SegmentFill>> segments, ChunkPlan plan,
       const CopyOptions& options)
      : segments_(segments), plan_(std::move(plan)), options_(options) {
    files_.reserve(files.size());
    for (const plan::OpenFile& file : files) files_.push_back(std::make_unique<SourceFile>(file));
  }

  absl::StatusOr<CopyStats> Run() {
    const auto start = Clock::now();
    const size_t wanted = static_cast<size_t>(ThreadCount());
    StartThreads(std::min(wanted, plan_.chunks.size()));
    WaitForReaders();
    for (std::thread& thread : threads_) thread.join();
    absl::Status status;
    CopyStats stats;
    {
      wire::MutexLock lock(mutex_);
      status = status_;
      stats = stats_;
    }
    if (!status.ok()) return status;
    for (const auto& file : files_) {
      if (auto unchanged = file->CheckUnchanged(); !unchanged.ok()) return unchanged;
    }
    stats.nanos = static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
    return stats;
  }

 private:
  int ThreadCount() const {
    if (options_.thread_count > 0) return options_.thread_count;
    return std::clamp<int>(static_cast<int>(std::thread::hardware_concurrency()), 1,
                           kMaxDefaultThreads);
  }

  void StartThreads(size_t count) {
    {
      wire::MutexLock lock(mutex_);
      running_ = count;
    }
    for (size_t i = 0; i < count; ++i) {
      try {
        threads_.emplace_back([this] { RunReader(); });
      } catch (const std::system_error& error) {
        // Fewer readers do the same work; without any there is nobody to do it.
        wire::MutexLock lock(mutex_);
        running_ -= count - i;
        if (i == 0) {
          status_ = wire::MakeError(
              wire::Reason::kLimitReached,
              absl::StrCat("cannot start a thread to read with: ", error.what()), {},
              "load it again when less goes on, or raise LimitNPROC or TasksMax of modeld");
        }
        return;
      }
    }
  }

  // Wakes when the last reader ends, and for progress.
  void WaitForReaders() {
    auto next_report = Clock::now() + kProgressInterval;
    uint64_t reported = 0;
    while (true) {
      {
        wire::MutexLock lock(mutex_);
        while (running_ > 0 && done_.WaitUntil(mutex_, next_report)) {
        }
        if (running_ == 0) return;
      }
      const uint64_t bytes_done = bytes_done_.load(std::memory_order_relaxed);
      if (options_.on_progress && bytes_done != reported) options_.on_progress(bytes_done);
      reported = bytes_done;
      next_report = Clock::now() + kProgressInterval;
    }
  }

  void RunReader() {
    const KeepGoing keep_going = [this] {
      return !failed_.load(std::memory_order_relaxed) &&
             (options_.cancelled == nullptr ||
              !options_.cancelled->load(std::memory_order_relaxed));
    };
    ChunkReader reader(files_, segments_, keep_going);
    absl::Status status;
    while (status.ok()) {
      const size_t index = next_chunk_.fetch_add(1, std::memory_order_relaxed);
      if (index >= plan_.chunks.size()) break;
      status = keep_going() ? reader.Read(plan_.chunks[index])
                            : absl::CancelledError("the load was cancelled");
      if (status.ok())
        bytes_done_.fetch_add(PieceBytes(plan_.chunks[index]), std::memory_order_relaxed);
    }
    wire::MutexLock lock(mutex_);
    // The first failure is the cause; the others are CANCELLED by it.
    if (!status.ok() && !failed_.exchange(true)) status_ = status;
    stats_.direct_bytes += reader.direct_bytes();
    stats_.buffered_bytes += reader.buffered_bytes();
    if (--running_ == 0) done_.NotifyAll();
  }

  static uint64_t PieceBytes(const Chunk& chunk) {
    uint64_t bytes = 0;
    for (const plan::CopyRange& piece : chunk.pieces) bytes += piece.size_bytes;
    return bytes;
  }

  const std::span<const std::unique_ptr<SegmentFill>> segments_;
  const ChunkPlan plan_;
  const CopyOptions& options_;
  std::vector<std::unique_ptr<SourceFile>> files_;
  std::vector<std::thread> threads_;
  std::atomic<size_t> next_chunk_{0};
  std::atomic<uint64_t> bytes_done_{0};
  std::atomic<bool> failed_{false};

  wire::Mutex mutex_;
  wire::CondVar done_;
  size_t running_ MODELD_GUARDED_BY(mutex_) = 0;
  absl::Status status_ MODELD_GUARDED_BY(mutex_);
  CopyStats stats_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace

std::string_view CopyStats::Mode() const {
  if (direct_bytes == 0) return "buffered";
  return buffered_bytes == 0 ? "direct" : "mixed";
}

absl::StatusOr<CopyStats> CopyRanges(std::span<const plan::OpenFile> files,
                                     std::span<const plan::CopyRange> ranges,
                                     std::span<const std::unique_ptr<SegmentFill>> segments,
                                     const CopyOptions& options) {
  std::vector<uint64_t> file_sizes;
  for (const plan::OpenFile& file : files) file_sizes.push_back(file.identity.size_bytes);
  std::vector<uint64_t> segment_sizes;
  for (const auto& segment : segments) segment_sizes.push_back(segment->size_bytes());
  const bool staged = !segments.empty() && segments.front()->staged();
  auto chunks =
      MakeChunks(ranges, file_sizes, segment_sizes, staged ? CutAt::kFile : CutAt::kSegment);
  if (!chunks.ok()) return chunks.status();
  return Copy(files, segments, *std::move(chunks), options).Run();
}

absl::StatusOr<LoadedSegments> LoadSegments(SegmentAllocator& allocator, const std::string& name,
                                            std::span<const plan::OpenFile> files,
                                            std::span<const plan::CopyRange> ranges,
                                            std::span<const uint64_t> segment_sizes,
                                            const CopyOptions& options) {
  std::vector<std::unique_ptr<SegmentFill>> segments;
  for (const uint64_t size_bytes : segment_sizes) {
    auto segment = allocator.Allocate(name, size_bytes);
    if (!segment.ok()) return segment.status();
    segments.push_back(*std::move(segment));
  }
  auto stats = CopyRanges(files, ranges, segments, options);
  if (!stats.ok()) return stats.status();
  LoadedSegments loaded;
  loaded.stats = *stats;
  for (auto& segment : segments) {
    auto exported = segment->Export();
    if (!exported.ok()) return exported.status();
    loaded.segments.push_back(*std::move(exported));
  }
  return loaded;
}

}  // namespace modeld::memory
