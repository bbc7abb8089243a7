// The contract of memory/segment.h, for every kind of segment that the program is linked with.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "memory/copy_pipeline.h"
#include "memory/source_file.h"
#include "plan/load_plan.h"
#include "segment_kinds.h"
#include "support/casts.h"
#include "wire/error.h"
#include "wire/memfd.h"

namespace modeld::memory {
namespace {

constexpr uint64_t kUnit = wire::kSegmentUnitBytes;

int OpenDescriptors() {
  int count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

class SegmentConformance : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<SegmentFill> Allocate(uint64_t size_bytes) {
    auto fill = allocator_->Allocate("conformance", size_bytes);
    EXPECT_TRUE(fill.ok()) << fill.status();
    return fill.ok() ? *std::move(fill) : nullptr;
  }

  static void Fill(SegmentFill& fill, uint64_t offset, uint64_t size_bytes, int value) {
    auto window = fill.Open(offset, size_bytes);
    ASSERT_TRUE(window.ok()) << window.status();
    EXPECT_EQ(window->offset, offset);
    EXPECT_EQ(window->size_bytes, size_bytes);
    std::memset(window->data, value, size_bytes);
    EXPECT_TRUE(fill.Close(*window).ok());
  }

  static std::string Read(const ExportedSegment& segment) {
    const auto reader = SegmentReader::Open(segment);
    EXPECT_TRUE(reader.ok()) << reader.status();
    const auto bytes = (*reader)->Read(0, segment.info.size_bytes);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
  }

  const std::unique_ptr<SegmentAllocator> allocator_ = GetParam().make();
};

TEST_P(SegmentConformance, HoldsWhatWasWrittenAndZeroesElsewhere) {
  auto fill = Allocate(5 * kUnit);
  EXPECT_EQ(fill->size_bytes(), 5 * kUnit);
  Fill(*fill, 100, 3000, 'a');
  Fill(*fill, kUnit - 1, 2, 'b');
  Fill(*fill, 4 * kUnit - 5, 10, 'c');
  auto segment = fill->Export();
  ASSERT_TRUE(segment.ok()) << segment.status();
  std::string expected(5 * kUnit, '\0');
  expected.replace(100, 3000, 3000, 'a');
  expected.replace(kUnit - 1, 2, 2, 'b');
  expected.replace(4 * kUnit - 5, 10, 10, 'c');
  EXPECT_EQ(segment->info.size_bytes, 5 * kUnit);
  EXPECT_TRUE(Read(*segment) == expected);
}

TEST_P(SegmentConformance, OpensStagedWindowsAtAddressesThatAreAskedFor) {
  auto fill = Allocate(2 * kUnit);
  if (!fill->staged()) GTEST_SKIP() << "its windows are places";
  for (const uint64_t like : {uint64_t{0}, uint64_t{26'008}, uint64_t{4095}}) {
    auto window = fill->Open(17, kMaxWindowBytes / 8, like);
    ASSERT_TRUE(window.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(window->data) % kWindowAlignmentBytes, like % 4096);
    fill->Abandon(*window);
  }
}

TEST_P(SegmentConformance, IsReadPieceByPieceAndNotBeyondItsEnd) {
  auto fill = Allocate(2 * kUnit);
  Fill(*fill, kUnit, 3, 'x');
  auto segment = fill->Export();
  ASSERT_TRUE(segment.ok());
  const auto reader = SegmentReader::Open(*segment);
  ASSERT_TRUE(reader.ok());
  const auto bytes = (*reader)->Read(kUnit - 1, 5);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(std::memcmp(bytes->data(), "\0xxx\0", 5), 0);
  EXPECT_TRUE(absl::IsInvalidArgument((*reader)->Read(2 * kUnit - 1, 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument((*reader)->Read(UINT64_MAX, 2).status()));
}

// What another process made of the same kind; it may refuse, but must not be wrong.
TEST_P(SegmentConformance, TakesOverWhatWasExported) {
  auto fill = Allocate(2 * kUnit);
  Fill(*fill, 7, 100, 'q');
  auto segment = fill->Export();
  ASSERT_TRUE(segment.ok());
  std::vector<wire::UniqueFd> fds;
  for (const wire::UniqueFd& fd : segment->fds) {
    fds.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  }
  const wire::SegmentInfo info = segment->info;
  auto taken = allocator_->Adopt(info, std::move(fds));
  if (info.kind == wire::SegmentKind::kCudaIpc) {
    EXPECT_TRUE(absl::IsInvalidArgument(taken.status()));
    return;
  }
  ASSERT_TRUE(taken.ok()) << taken.status();
  const std::string expected = Read(*segment);
  segment = ExportedSegment{};  // its maker is gone
  EXPECT_TRUE(Read(*taken) == expected);
  EXPECT_EQ(expected.substr(7, 100), std::string(100, 'q'));
}

TEST_P(SegmentConformance, RefusesToTakeOverAnotherKindOfMemory) {
  wire::SegmentInfo info;
  info.kind = GetParam().other;
  info.size_bytes = kUnit;
  info.chunk_bytes = kUnit;
  std::vector<wire::UniqueFd> fds;
  fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(absl::IsInvalidArgument(allocator_->Adopt(info, std::move(fds)).status()));
}

TEST_P(SegmentConformance, OpensWindowsAtAddressesThatAgreeWithTheirOffsets) {
  auto fill = Allocate(8 * kUnit);
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{1}, uint64_t{4097}, kUnit + 4095, 3 * kUnit + 17}) {
    auto window = fill->Open(offset, 64);
    ASSERT_TRUE(window.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(window->data) % kWindowAlignmentBytes,
              offset % kWindowAlignmentBytes);
    EXPECT_TRUE(fill->Close(*window).ok());
  }
}

TEST_P(SegmentConformance, RefusesWindowsThatAreEmptyTooLongOrOutside) {
  auto fill = Allocate(6 * kUnit);
  EXPECT_FALSE(fill->Open(0, 0).ok());
  EXPECT_FALSE(fill->Open(0, kMaxWindowBytes + 1).ok());
  EXPECT_FALSE(fill->Open(6 * kUnit, 1).ok());
  EXPECT_FALSE(fill->Open(6 * kUnit - 1, 2).ok());
  EXPECT_FALSE(fill->Open(UINT64_MAX, 2).ok());
  const auto last = fill->Open(6 * kUnit - 1, 1);
  ASSERT_TRUE(last.ok());
  fill->Abandon(*last);
}

TEST_P(SegmentConformance, IsFilledByManyThreadsAtOnce) {
  constexpr int kThreads = 4;
  constexpr uint64_t kPiece = 100'000;  // so that pieces share pages
  auto fill = Allocate(16 * kUnit);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint64_t piece = thread; (piece + 1) * kPiece <= 16 * kUnit; piece += kThreads) {
        Fill(*fill, piece * kPiece, kPiece, static_cast<int>(piece % 251 + 1));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  auto segment = fill->Export();
  ASSERT_TRUE(segment.ok());
  const std::string bytes = Read(*segment);
  for (uint64_t piece = 0; (piece + 1) * kPiece <= bytes.size(); ++piece) {
    const std::string expected(kPiece, static_cast<char>(piece % 251 + 1));
    ASSERT_TRUE(bytes.compare(piece * kPiece, kPiece, expected) == 0) << "piece " << piece;
  }
}

// Through the pipeline: gathered short ranges and long ones, widened and narrowed, beside ranges
// that stay what they are.
TEST_P(SegmentConformance, IsLoadedWithCasts) {
  constexpr plan::Cast kNarrow = {wire::DType::kF32, wire::DType::kBF16};
  constexpr plan::Cast kWide = {wire::DType::kF16, wire::DType::kF32};
  std::vector<plan::CopyRange> ranges;
  uint64_t file_end = 3;
  uint64_t segment_end = 0;
  const auto add = [&](uint64_t size_bytes, std::optional<plan::Cast> cast) {
    ranges.push_back({0, file_end, 0, segment_end, size_bytes, cast});
    file_end += size_bytes;
    segment_end = (segment_end + ranges.back().placed_bytes() + 511) / 512 * 512;
  };
  for (int i = 0; i < 20; ++i) {
    add(4004, kNarrow);
    add(1001, std::nullopt);
    add(130, kWide);
  }
  add(kMaxWindowBytes + 6, kWide);
  add(2 * kMaxWindowBytes + 4, kNarrow);
  add(kMaxWindowBytes + 5, std::nullopt);

  std::string content(file_end, '\0');
  std::mt19937_64 random(1);
  for (char& byte : content) byte = static_cast<char>(random());
  wire::UniqueFd file(::memfd_create("source", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  std::vector<plan::OpenFile> files(1);
  files[0].path = "memory";
  files[0].identity = *IdentityOf(file.get());
  files[0].fd = std::move(file);

  const uint64_t size_bytes = (segment_end / kUnit + 1) * kUnit;
  std::string expected(size_bytes, '\0');
  for (const plan::CopyRange& range : ranges) {
    std::string bytes = content.substr(range.file_offset, range.size_bytes);
    if (range.cast) bytes = test::CastOf(*range.cast, bytes);
    expected.replace(range.segment_offset, bytes.size(), bytes);
  }
  const auto loaded =
      LoadSegments(*allocator_, "casts", files, ranges, std::vector{size_bytes}, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(Read(loaded->segments.front()) == expected);
}

TEST_P(SegmentConformance, RefusesSizesThatAreNoMultipleOfTheGranularity) {
  EXPECT_TRUE(absl::IsInvalidArgument(allocator_->Allocate("odd", kUnit + 4096).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(allocator_->Allocate("odd", 1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(allocator_->Allocate("odd", 0).status()));
}

TEST_P(SegmentConformance, SaysThatTheBudgetIsExceededWhenThereIsNoSuchMemory) {
  const auto fill = allocator_->Allocate("huge", uint64_t{1} << 50);
  EXPECT_EQ(wire::GetReason(fill.status()), wire::Reason::kBudgetExceeded) << fill.status();
}

TEST_P(SegmentConformance, LeavesNothingBehindWhenItIsNotExported) {
  Allocate(kUnit).reset();  // what comes with the first
  const int before = OpenDescriptors();
  for (int i = 0; i < 20; ++i) {
    auto fill = Allocate(2 * kUnit);
    Fill(*fill, 0, 5, 'x');
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

INSTANTIATE_TEST_SUITE_P(Kinds, SegmentConformance, testing::ValuesIn(Kinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace modeld::memory
