// Segments of a GPU, the first that CUDA shows: the conformance suite's kinds, and what only device
// memory promises. Runs on tests/fake_cudart, and on the real thing.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>

#include "memory/cuda_allocator.h"
#include "memory/cuda_device.h"
#include "segment_kinds.h"

namespace modeld::memory {
namespace {

std::unique_ptr<SegmentAllocator> Make(wire::SegmentKind kind) {
  auto allocator = CudaAllocator::Create(
      {.kind = kind, .pinned_bytes = 32 << 20, .chunk_bytes = 2 * wire::kSegmentUnitBytes});
  EXPECT_TRUE(allocator.ok()) << allocator.status();
  return *std::move(allocator);
}

// Before any test: a process has one GPU, as the agent has.
const bool kOpened = [] {
  auto devices = ListCudaDevices();
  if (devices.ok() && devices->usable.size() > 1) {
    ::setenv("CUDA_VISIBLE_DEVICES", devices->usable.front().uuid.c_str(), 1);
  }
  const absl::Status status =
      devices.ok() ? OpenCudaDevice(devices->usable.front().uuid) : devices.status();
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok();
}();

}  // namespace

std::vector<Kind> Kinds() {
  return {
      {"CudaVmm", [] { return Make(wire::SegmentKind::kCudaVmm); }, wire::SegmentKind::kHostMemfd},
      {"CudaIpc", [] { return Make(wire::SegmentKind::kCudaIpc); }, wire::SegmentKind::kHostMemfd},
  };
}

namespace {

TEST(CudaSegments, HaveADevice) { ASSERT_TRUE(kOpened); }

TEST(CudaSegments, ComeInFewChunksBehindOneRange) {
  const auto allocator = Make(wire::SegmentKind::kCudaVmm);
  auto fill = allocator->Allocate("chunks", 5 * wire::kSegmentUnitBytes);
  ASSERT_TRUE(fill.ok()) << fill.status();
  const auto segment = (*fill)->Export();
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_EQ(segment->info.kind, wire::SegmentKind::kCudaVmm);
  EXPECT_EQ(segment->info.chunk_bytes, 2 * wire::kSegmentUnitBytes);
  EXPECT_EQ(segment->info.descriptor_count(), 3u);
  EXPECT_EQ(segment->info.chunk_size_bytes(2), wire::kSegmentUnitBytes);
  EXPECT_EQ(segment->fds.size(), 3u);
}

TEST(CudaSegments, GiveTheirMemoryBack) {
  for (const Kind& kind : Kinds()) {
    const auto allocator = kind.make();
    const auto before = allocator->FreeBytes();
    ASSERT_TRUE(before);
    auto fill = allocator->Allocate("given back", 64 * wire::kSegmentUnitBytes);
    ASSERT_TRUE(fill.ok()) << fill.status();
    auto segment = (*fill)->Export();
    ASSERT_TRUE(segment.ok()) << segment.status();
    EXPECT_LE(*allocator->FreeBytes() + 64 * wire::kSegmentUnitBytes, *before) << kind.name;
    segment = ExportedSegment{};
    fill->reset();
    EXPECT_GE(*allocator->FreeBytes() + wire::kSegmentUnitBytes, *before) << kind.name;
  }
}

}  // namespace
}  // namespace modeld::memory
