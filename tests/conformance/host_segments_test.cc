// Segments of the host: the conformance suite's kinds, and what only memfds promise.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/host_segment.h"
#include "segment_kinds.h"
#include "wire/memfd.h"

namespace modeld::memory {

std::vector<Kind> Kinds() {
  const auto host = [](PageKind kind) {
    return [kind] {
      PageChoice choice;
      choice.kind = kind;
      return std::make_unique<HostAllocator>(choice);
    };
  };
  constexpr auto kOther = wire::SegmentKind::kCudaVmm;
  return {
      {"HostSmallPages", host(PageKind::kSmall), kOther},
      // Where the kernel has no such pages it takes small ones, block by block.
      {"HostTransparentHugePages", host(PageKind::kTransparent), kOther},
      // Where the pool is empty it falls back.
      {"HostHugetlb", host(PageKind::kHugetlb), kOther},
      {"HostAsProbed", [] { return std::make_unique<HostAllocator>(ProbePages()); }, kOther},
  };
}

namespace {

class HostSegments : public testing::TestWithParam<Kind> {
 protected:
  // `size_bytes` bytes that begin with ten times `x`.
  ExportedSegment Export(uint64_t size_bytes) {
    auto fill = GetParam().make()->Allocate("host", size_bytes);
    EXPECT_TRUE(fill.ok()) << fill.status();
    auto window = (*fill)->Open(0, 10);
    EXPECT_TRUE(window.ok()) << window.status();
    std::fill_n(window->data, 10, std::byte{'x'});
    EXPECT_TRUE((*fill)->Close(*window).ok());
    auto segment = (*fill)->Export();
    EXPECT_TRUE(segment.ok()) << segment.status();
    return *std::move(segment);
  }
};

TEST_P(HostSegments, CannotBeChangedOnceExported) {
  const ExportedSegment segment = Export(wire::kSegmentUnitBytes);
  const int fd = segment.fds.front().get();
  EXPECT_TRUE(wire::CheckSealed(fd, wire::kSegmentUnitBytes).ok());
  EXPECT_EQ(::pwrite(fd, "y", 1, 0), -1);
  EXPECT_EQ(::ftruncate(fd, 0), -1);
  EXPECT_EQ(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, wire::kSegmentUnitBytes),
            -1);
  EXPECT_EQ(::mmap(nullptr, wire::kSegmentUnitBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
            MAP_FAILED);
  const auto mapping = wire::MapReadOnly(fd, wire::kSegmentUnitBytes);
  ASSERT_TRUE(mapping.ok());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(mapping->data()), 10), std::string(10, 'x'));
}

TEST_P(HostSegments, HaveEveryPageBeforeAnybodyReads) {
  const ExportedSegment segment = Export(9 * wire::kSegmentUnitBytes);
  struct stat info;
  ASSERT_EQ(::fstat(segment.fds.front().get(), &info), 0);
  EXPECT_EQ(static_cast<uint64_t>(info.st_blocks) * 512, 9 * wire::kSegmentUnitBytes);
  EXPECT_TRUE(segment.info.page_size_bytes == 4096 ||
              segment.info.page_size_bytes == wire::kSegmentUnitBytes);
}

INSTANTIATE_TEST_SUITE_P(Kinds, HostSegments, testing::ValuesIn(Kinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace modeld::memory
