#include "memory/copy_pipeline.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "memory/chunk_plan.h"
#include "memory/host_segment.h"
#include "memory/source_file.h"
#include "support/bytes.h"
#include "support/casts.h"
#include "support/cpu_time.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/memfd.h"

namespace modeld::memory {
namespace {

using plan::CopyRange;
using test::kMiB;
using testing::HasSubstr;

constexpr uint64_t kUnit = wire::kSegmentUnitBytes;

std::string RandomBytes(uint64_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (uint64_t i = 0; i + 8 <= size; i += 8) {
    const uint64_t word = random();
    std::memcpy(&bytes[i], &word, 8);
  }
  return bytes;
}

plan::OpenFile Open(const std::string& path, int flags = O_RDONLY) {
  plan::OpenFile file;
  file.path = path;
  file.fd = wire::UniqueFd(::open(path.c_str(), flags | O_CLOEXEC));
  auto identity = IdentityOf(file.fd.get());
  EXPECT_TRUE(identity.ok()) << identity.status();
  file.identity = *identity;
  return file;
}

void DropFromPageCache(const plan::OpenFile& file) {
  ::fdatasync(file.fd.get());
  ::posix_fadvise(file.fd.get(), 0, 0, POSIX_FADV_DONTNEED);
}

bool ReadsDirectly(const plan::OpenFile& file) {
  struct statfs info;
  if (::fstatfs(file.fd.get(), &info) != 0 || info.f_type == TMPFS_MAGIC) return false;
  return wire::UniqueFd(::open(file.path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)).valid();
}

class CopyPipeline : public testing::Test {
 protected:
  // Loads, and returns the bytes of all segments one after another.
  absl::StatusOr<std::string> Load(const std::vector<plan::OpenFile>& files,
                                   const std::vector<CopyRange>& ranges,
                                   const std::vector<uint64_t>& segments,
                                   CopyOptions options = {}) {
    HostAllocator allocator(ProbePages());
    auto loaded = LoadSegments(allocator, "test", files, ranges, segments, options);
    if (!loaded.ok()) return loaded.status();
    stats_ = loaded->stats;
    std::string bytes;
    for (const ExportedSegment& segment : loaded->segments) {
      auto mapping = wire::MapReadOnly(segment.fds.front().get(), segment.info.size_bytes);
      if (!mapping.ok()) return mapping.status();
      bytes.append(reinterpret_cast<const char*>(mapping->data()), mapping->size_bytes());
    }
    return bytes;
  }

  static std::string Expected(const std::vector<std::string>& files,
                              const std::vector<CopyRange>& ranges,
                              const std::vector<uint64_t>& segments) {
    std::string bytes(std::accumulate(segments.begin(), segments.end(), uint64_t{0}), '\0');
    for (const CopyRange& range : ranges) {
      const uint64_t base =
          std::accumulate(segments.begin(), segments.begin() + range.segment_index, uint64_t{0});
      std::string placed = files[range.file_index].substr(range.file_offset, range.size_bytes);
      if (range.cast) placed = test::CastOf(*range.cast, placed);
      bytes.replace(base + range.segment_offset, placed.size(), placed);
    }
    return bytes;
  }

  test::TempDir dir_;
  CopyStats stats_;
};

TEST_F(CopyPipeline, ReadsDirectlyWhatIsNotInThePageCache) {
  const std::string bytes = RandomBytes(21 * kMiB + 1234, 1);
  std::vector<plan::OpenFile> files;
  files.push_back(Open(dir_.Write("model", bytes)));
  // As a safetensors file lies: from the page of the first tensor to the end of the file.
  const std::vector<CopyRange> ranges = {{0, 4096, 0, 0, bytes.size() - 4096}};
  DropFromPageCache(files[0]);
  const auto loaded = Load(files, ranges, {11 * kUnit});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(*loaded == Expected({bytes}, ranges, {11 * kUnit}));
  EXPECT_EQ(stats_.Mode(), ReadsDirectly(files[0]) ? "direct" : "buffered");
}

TEST_F(CopyPipeline, ReadsThroughThePageCacheWhatIsInIt) {
  const std::string bytes = RandomBytes(9 * kMiB, 2);
  std::vector<plan::OpenFile> files;
  files.push_back(Open(dir_.Write("model", bytes)));
  const std::vector<CopyRange> ranges = {{0, 0, 0, 0, bytes.size()}};
  const auto loaded = Load(files, ranges, {5 * kUnit});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(*loaded == Expected({bytes}, ranges, {5 * kUnit}));
  EXPECT_EQ(stats_.Mode(), "buffered");
}

TEST_F(CopyPipeline, ReadsMemoryFileSystemsThroughThePageCache) {
  const std::string bytes = RandomBytes(3 * kMiB, 3);
  wire::UniqueFd memory(::memfd_create("source", MFD_CLOEXEC));
  ASSERT_EQ(::write(memory.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  std::vector<plan::OpenFile> files(1);
  files[0].path = "memory";
  files[0].identity = *IdentityOf(memory.get());
  files[0].fd = std::move(memory);
  const std::vector<CopyRange> ranges = {{0, 0, 0, 0, bytes.size()}};
  const auto loaded = Load(files, ranges, {2 * kUnit});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(*loaded == Expected({bytes}, ranges, {2 * kUnit}));
  EXPECT_EQ(stats_.Mode(), "buffered");
}

// Short and long ranges, at places that agree with the file's pages and at others, from several
// files into several segments, read directly and through the page cache: every byte in its place,
// and zero elsewhere.
TEST_F(CopyPipeline, PutsEveryByteInItsPlaceAndLeavesZeroesElsewhere) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 8; ++round) {
    const bool cold = round % 2 == 0;
    std::vector<std::string> contents;
    std::vector<plan::OpenFile> files;
    std::vector<CopyRange> ranges;
    std::vector<uint64_t> ends = {0, 0};
    for (uint32_t file = 0; file < 3; ++file) {
      uint64_t at = random() % 10'000;
      for (int i = 0; i < 40; ++i) {
        const uint64_t size = random() % 8 == 0 ? random() % (3 * kMiB) : random() % 20'000;
        const uint32_t segment = random() % 2;
        uint64_t place = ends[segment] + random() % 100;
        if (random() % 2 == 0) place += (at - place) % 4096;
        ranges.push_back({file, at, segment, place, size});
        ends[segment] = place + size;
        at += size + (random() % 4 == 0 ? random() % 20'000 : 0);
      }
      contents.push_back(RandomBytes(at + 8, 100 * round + file));
      files.push_back(
          Open(dir_.Write("file" + std::to_string(round) + std::to_string(file), contents.back())));
      if (cold) DropFromPageCache(files.back());
    }
    std::vector<uint64_t> segments;
    for (const uint64_t end : ends) segments.push_back((end / kUnit + 1) * kUnit);
    const auto loaded = Load(files, ranges, segments);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(*loaded == Expected(contents, ranges, segments)) << "round " << round;
  }
}

// The same with ranges that are cast among them, at odd places in the file, shorter and longer than
// chunks.
TEST_F(CopyPipeline, CastsOnItsWay) {
  constexpr plan::Cast kCasts[] = {{wire::DType::kF32, wire::DType::kF16},
                                   {wire::DType::kF16, wire::DType::kF32},
                                   {wire::DType::kF64, wire::DType::kBF16},
                                   {wire::DType::kBF16, wire::DType::kF16}};
  std::mt19937_64 random(14);
  for (int round = 0; round < 4; ++round) {
    const bool cold = round % 2 == 0;
    std::vector<CopyRange> ranges;
    uint64_t at = random() % 10'000;
    uint64_t end = 0;
    uint64_t total = 0;
    for (int i = 0; i < 30; ++i) {
      CopyRange range = {0, at, 0, (end + 63) / 64 * 64,
                         random() % 5 == 0 ? random() % (11 * kMiB) : random() % 20'000};
      if (i % 4 != 0) {
        range.cast = kCasts[random() % std::size(kCasts)];
        range.size_bytes -= range.size_bytes % range.cast->from_bytes();
      }
      ranges.push_back(range);
      end = range.segment_offset + range.placed_bytes();
      at += range.size_bytes + (random() % 4 == 0 ? random() % 20'000 : 0);
      total += range.size_bytes;
    }
    const std::string content = RandomBytes(at + 8, 200 + round);
    std::vector<plan::OpenFile> files;
    files.push_back(Open(dir_.Write("file" + std::to_string(round), content)));
    if (cold) DropFromPageCache(files.back());
    const std::vector<uint64_t> segments = {(end / kUnit + 1) * kUnit};
    const auto loaded = Load(files, ranges, segments);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(*loaded == Expected({content}, ranges, segments)) << "round " << round;
    EXPECT_GE(stats_.direct_bytes + stats_.buffered_bytes, total) << "bytes of the file count";
  }
}

TEST_F(CopyPipeline, NamesFileAndByteWhenAFileThatIsCastHasBecomeShorter) {
  const std::string path = dir_.Write("model", RandomBytes(12 * kMiB, 6));
  for (const bool cold : {true, false}) {
    std::vector<plan::OpenFile> files;
    files.push_back(Open(path));
    files[0].identity.size_bytes = 13 * kMiB;
    if (cold) DropFromPageCache(files[0]);
    const auto loaded =
        Load(files, {{0, 0, 0, 0, 13 * kMiB, plan::Cast{wire::DType::kF16, wire::DType::kF32}}},
             {13 * kUnit});
    EXPECT_EQ(wire::GetReason(loaded.status()), wire::Reason::kCheckpointChanged)
        << loaded.status();
    EXPECT_THAT(std::string(loaded.status().message()),
                HasSubstr("ends at byte " + std::to_string(12 * kMiB)));
  }
}

TEST_F(CopyPipeline, CopiesAHundredThousandShortRangesInASecond) {
  constexpr uint64_t kRanges = 100'000;
  constexpr uint64_t kSize = 333;
  const std::string bytes = RandomBytes(kRanges * kSize + 8, 5);
  std::vector<plan::OpenFile> files;
  files.push_back(Open(dir_.Write("model", bytes)));
  std::vector<CopyRange> ranges;
  for (uint64_t i = 0; i < kRanges; ++i) ranges.push_back({0, 7 + i * kSize, 0, i * 384, kSize});
  for (const bool cold : {true, false}) {
    if (cold) DropFromPageCache(files[0]);
    const auto loaded =
        test::WithinCpuSeconds(5, [&] { return Load(files, ranges, {19 * kUnit}); });
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(*loaded == Expected({bytes}, ranges, {19 * kUnit}));
  }
}

TEST_F(CopyPipeline, LoadsNothingFromNothing) {
  const auto loaded = Load({}, {}, {kUnit});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(*loaded == std::string(kUnit, '\0'));
}

TEST_F(CopyPipeline, NamesFileAndByteWhenTheFileHasBecomeShorter) {
  for (const uint64_t left : {uint64_t{0}, uint64_t{5000}, 9 * kMiB, 12 * kMiB - 1}) {
    const std::string path = dir_.Write("model", RandomBytes(12 * kMiB, 6));
    std::vector<plan::OpenFile> files;
    files.push_back(Open(path));
    DropFromPageCache(files[0]);
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(left)), 0);
    CopyOptions options;
    options.thread_count = 1;
    const auto loaded = Load(files, {{0, 0, 0, 0, 12 * kMiB}}, {6 * kUnit}, options);
    EXPECT_EQ(wire::GetReason(loaded.status()), wire::Reason::kCheckpointChanged)
        << loaded.status();
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(path));
    EXPECT_THAT(std::string(loaded.status().message()),
                HasSubstr("ends at byte " + std::to_string(left)));
  }
}

TEST_F(CopyPipeline, NoticesThatTheFileWasWrittenTo) {
  const std::string path = dir_.Write("model", RandomBytes(kMiB, 7));
  std::vector<plan::OpenFile> files;
  files.push_back(Open(path));
  const wire::UniqueFd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(writer.get(), "x", 1, 100), 1);
  const timespec times[2] = {{0, UTIME_OMIT}, {1, 0}};  // whatever the clock's granularity
  ASSERT_EQ(::futimens(writer.get(), times), 0);
  const auto loaded = Load(files, {{0, 0, 0, 0, kMiB}}, {kUnit});
  EXPECT_EQ(wire::GetReason(loaded.status()), wire::Reason::kCheckpointChanged) << loaded.status();
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(path));
}

TEST_F(CopyPipeline, SaysWhatTheSystemSaidWhenAFileCannotBeRead) {
  wire::UniqueFd memory(::memfd_create("source", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), kMiB), 0);
  std::vector<plan::OpenFile> files;
  // Only writable: read() fails with EBADF, as it would with EIO on a bad disk.
  files.push_back(Open("/proc/self/fd/" + std::to_string(memory.get()), O_WRONLY));
  files[0].path = "/models/broken.safetensors";
  const auto loaded = Load(files, {{0, 4096, 0, 0, 1000}}, {kUnit});
  EXPECT_EQ(wire::GetReason(loaded.status()), wire::Reason::kReadFailed) << loaded.status();
  EXPECT_THAT(std::string(loaded.status().message()),
              HasSubstr("/models/broken.safetensors at byte 4096"));
}

TEST_F(CopyPipeline, RefusesAPlanThatDoesNotFit) {
  std::vector<plan::OpenFile> files;
  files.push_back(Open(dir_.Write("model", "0123456789")));
  EXPECT_TRUE(absl::IsInvalidArgument(Load(files, {{0, 0, 0, 0, 11}}, {kUnit}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Load(files, {{0, 0, 0, kUnit - 5, 10}}, {kUnit}).status()));
}

TEST_F(CopyPipeline, ReportsProgressAndEndsSoonAfterItIsCancelled) {
  const std::string path = dir_ / "sparse";
  const wire::UniqueFd writer(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(writer.get(), 8192 * kMiB), 0);
  std::vector<plan::OpenFile> files;
  files.push_back(Open(path));
  std::atomic<bool> cancelled{false};
  std::chrono::steady_clock::time_point cancelled_at;
  uint64_t bytes_done = 0;
  CopyOptions options;
  options.thread_count = 1;
  options.cancelled = &cancelled;
  options.on_progress = [&](uint64_t bytes) {
    if (cancelled.exchange(true)) return;
    bytes_done = bytes;
    cancelled_at = std::chrono::steady_clock::now();
  };
  const auto loaded = Load(files, {{0, 0, 0, 0, 8192 * kMiB}}, {4096 * kUnit}, options);
  const auto took = std::chrono::steady_clock::now() - cancelled_at;
  EXPECT_TRUE(absl::IsCancelled(loaded.status())) << loaded.status();
  EXPECT_GT(bytes_done, 0u);
  EXPECT_LT(bytes_done, 8192 * kMiB);
  // Freeing what was loaded by then is part of it.
  EXPECT_LT(took, std::chrono::seconds(2));
}

TEST_F(CopyPipeline, CopiesNothingOnceItIsCancelled) {
  std::vector<plan::OpenFile> files;
  files.push_back(Open(dir_.Write("model", RandomBytes(kMiB, 8))));
  const std::atomic<bool> cancelled{true};
  CopyOptions options;
  options.cancelled = &cancelled;
  EXPECT_TRUE(absl::IsCancelled(Load(files, {{0, 0, 0, 0, kMiB}}, {kUnit}, options).status()));
}

}  // namespace
}  // namespace modeld::memory
