// The contract of memory/segment.h, for every kind of segment that this machine can make.

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
#include <string>
#include <thread>
#include <vector>

#include "memory/host_segment.h"
#include "memory/segment.h"
#include "plan/load_plan.h"
#include "wire/error.h"
#include "wire/memfd.h"

namespace modeld::memory {
namespace {

constexpr uint64_t kUnit = plan::kSegmentGranularityBytes;

struct Kind {
  std::string name;
  std::function<std::unique_ptr<SegmentAllocator>()> make;
};

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
    auto mapping = wire::MapReadOnly(segment.fd.get(), segment.size_bytes);
    EXPECT_TRUE(mapping.ok()) << mapping.status();
    return {reinterpret_cast<const char*>(mapping->data()), mapping->size_bytes()};
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
  EXPECT_EQ(segment->size_bytes, 5 * kUnit);
  EXPECT_TRUE(Read(*segment) == expected);
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
  EXPECT_TRUE(fill->Open(6 * kUnit - 1, 1).ok());
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

TEST_P(SegmentConformance, CannotBeChangedOnceExported) {
  auto fill = Allocate(kUnit);
  Fill(*fill, 0, 10, 'x');
  auto segment = fill->Export();
  ASSERT_TRUE(segment.ok());
  const int fd = segment->fd.get();
  EXPECT_TRUE(wire::CheckSealed(fd, kUnit).ok());
  EXPECT_EQ(::pwrite(fd, "y", 1, 0), -1);
  EXPECT_EQ(::ftruncate(fd, 0), -1);
  EXPECT_EQ(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kUnit), -1);
  EXPECT_EQ(::mmap(nullptr, kUnit, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_EQ(Read(*segment).substr(0, 10), std::string(10, 'x'));
}

TEST_P(SegmentConformance, HasEveryPageBeforeAnybodyReads) {
  auto fill = Allocate(9 * kUnit);
  Fill(*fill, 0, 1, 'x');
  auto segment = fill->Export();
  ASSERT_TRUE(segment.ok());
  struct stat info;
  ASSERT_EQ(::fstat(segment->fd.get(), &info), 0);
  EXPECT_EQ(static_cast<uint64_t>(info.st_blocks) * 512, 9 * kUnit);
  EXPECT_TRUE(segment->page_size_bytes == 4096 || segment->page_size_bytes == kUnit);
}

TEST_P(SegmentConformance, MayBeEmpty) {
  auto segment = Allocate(0)->Export();
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_EQ(segment->size_bytes, 0u);
  EXPECT_TRUE(wire::CheckSealed(segment->fd.get(), 0).ok());
}

TEST_P(SegmentConformance, RefusesSizesThatAreNoMultipleOfTheGranularity) {
  EXPECT_TRUE(absl::IsInvalidArgument(allocator_->Allocate("odd", kUnit + 4096).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(allocator_->Allocate("odd", 1).status()));
}

TEST_P(SegmentConformance, SaysThatTheBudgetIsExceededWhenThereIsNoSuchMemory) {
  const auto fill = allocator_->Allocate("huge", uint64_t{1} << 50);
  EXPECT_EQ(wire::GetReason(fill.status()), wire::Reason::kBudgetExceeded) << fill.status();
}

TEST_P(SegmentConformance, LeavesNothingBehindWhenItIsNotExported) {
  const int before = OpenDescriptors();
  for (int i = 0; i < 20; ++i) {
    auto fill = Allocate(2 * kUnit);
    Fill(*fill, 0, 5, 'x');
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

std::vector<Kind> Kinds() {
  const auto host = [](PageKind kind) {
    return [kind] {
      PageChoice choice;
      choice.kind = kind;
      return std::make_unique<HostAllocator>(choice);
    };
  };
  return {
      {"HostSmallPages", host(PageKind::kSmall)},
      // Where the kernel has no such pages it takes small ones, block by block.
      {"HostTransparentHugePages", host(PageKind::kTransparent)},
      // Where the pool is empty it falls back.
      {"HostHugetlb", host(PageKind::kHugetlb)},
      {"HostAsProbed", [] { return std::make_unique<HostAllocator>(ProbePages()); }},
  };
}

INSTANTIATE_TEST_SUITE_P(Kinds, SegmentConformance, testing::ValuesIn(Kinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace modeld::memory
