#include "memory/chunk_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

#include "support/bytes.h"

namespace modeld::memory {
namespace {

using plan::CopyRange;
using test::kMiB;

absl::StatusOr<ChunkPlan> Make(const std::vector<CopyRange>& ranges, std::vector<uint64_t> files,
                               std::vector<uint64_t> segments) {
  return MakeChunks(ranges, files, segments);
}

TEST(ChunkPlan, CutsLongRangesWhereSegmentsHaveTheirBlocks) {
  const auto plan = Make({{0, 4096, 0, 4096, 30 * kMiB}}, {40 * kMiB}, {64 * kMiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->chunks.size(), 4u);
  uint64_t at = 4096;
  for (const Chunk& chunk : plan->chunks) {
    ASSERT_EQ(chunk.pieces.size(), 1u);
    const CopyRange& piece = chunk.pieces.front();
    EXPECT_EQ(piece.file_offset, at);
    EXPECT_EQ(piece.segment_offset / kChunkBytes,
              (piece.segment_offset + piece.size_bytes - 1) / kChunkBytes);
    at += piece.size_bytes;
  }
  EXPECT_EQ(at, 4096 + 30 * kMiB);
  EXPECT_EQ(plan->total_bytes, 30 * kMiB);
}

TEST(ChunkPlan, GathersShortRangesThatLieTogetherInTheFile) {
  std::vector<CopyRange> ranges;
  for (uint64_t i = 0; i < 100'000; ++i) ranges.push_back({0, i * 128, 0, i * 192, 100});
  const auto plan = Make(ranges, {100'000 * 128}, {20 * kMiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->pieces.size(), 100'000u);
  EXPECT_EQ(plan->chunks.size(), 2u);
  for (const Chunk& chunk : plan->chunks) EXPECT_LE(chunk.size_bytes, kChunkBytes);
}

TEST(ChunkPlan, DoesNotReadOverLongGapsOrFromOneFileIntoTheNext) {
  const auto plan =
      Make({{0, 0, 0, 0, 10}, {0, 10 + kMaxGapBytes + 1, 0, 64, 10}, {1, 0, 0, 128, 10}},
           {kMiB, kMiB}, {2 * kMiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->chunks.size(), 3u);
}

TEST(ChunkPlan, DropsEmptyRanges) {
  const auto plan = Make({{0, 10, 0, 10, 0}, {0, 10, 0, 10, 0}}, {10}, {2 * kMiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->chunks.empty());
  EXPECT_TRUE(Make({}, {}, {}).ok());
}

TEST(ChunkPlan, RefusesRangesThatLeaveTheirFileOrSegment) {
  EXPECT_FALSE(Make({{1, 0, 0, 0, 1}}, {10}, {10}).ok());
  EXPECT_FALSE(Make({{0, 0, 1, 0, 1}}, {10}, {10}).ok());
  EXPECT_FALSE(Make({{0, 5, 0, 0, 6}}, {10}, {10}).ok());
  EXPECT_FALSE(Make({{0, 0, 0, 5, 6}}, {10}, {10}).ok());
  EXPECT_FALSE(Make({{0, UINT64_MAX, 0, 0, 2}}, {10}, {10}).ok());
  EXPECT_FALSE(Make({{0, 0, 0, UINT64_MAX - 1, 4}}, {10}, {10}).ok());
  EXPECT_TRUE(Make({{0, 5, 0, 5, 5}}, {10}, {10}).ok());
}

TEST(ChunkPlan, RefusesRangesThatAreOutOfOrder) {
  EXPECT_FALSE(Make({{0, 5, 0, 0, 1}, {0, 4, 0, 5, 1}}, {10}, {10}).ok());
  EXPECT_FALSE(Make({{1, 0, 0, 0, 1}, {0, 4, 0, 5, 1}}, {10, 10}, {10}).ok());
}

TEST(ChunkPlan, RefusesRangesThatOverlapInTheSegment) {
  EXPECT_FALSE(Make({{0, 0, 0, 4, 4}, {0, 4, 0, 0, 5}}, {10}, {10}).ok());
  EXPECT_FALSE(Make({{0, 0, 0, 0, 4}, {1, 0, 0, 0, 4}}, {10, 10}, {10}).ok());
  // The same place of two segments, and an empty range inside another, are fine.
  EXPECT_TRUE(Make({{0, 0, 0, 0, 4}, {1, 0, 1, 0, 4}}, {10, 10}, {10, 10}).ok());
  EXPECT_TRUE(Make({{0, 0, 0, 0, 4}, {0, 2, 0, 2, 0}}, {10}, {10}).ok());
}

// Whatever the ranges, the pieces are exactly their bytes, each once.
TEST(ChunkPlan, CoversEachByteOnce) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<CopyRange> ranges;
    uint64_t file_offset = 0;
    uint64_t segment_offset = random() % 5000;
    for (int i = 0; i < 60; ++i) {
      const uint64_t size = random() % 7 == 0 ? random() % (20 * kMiB) : random() % 9000;
      file_offset += random() % 3 == 0 ? random() % 9000 : 0;
      ranges.push_back({0, file_offset, 0, segment_offset, size});
      file_offset += size;
      segment_offset += size + random() % 64;
    }
    const auto plan = Make(ranges, {file_offset}, {segment_offset});
    ASSERT_TRUE(plan.ok()) << plan.status();
    std::vector<CopyRange> pieces;
    for (const Chunk& chunk : plan->chunks) {
      EXPECT_LE(chunk.size_bytes, kChunkBytes);
      for (const CopyRange& piece : chunk.pieces) {
        EXPECT_GE(piece.file_offset, chunk.file_offset);
        EXPECT_LE(piece.file_offset + piece.size_bytes, chunk.file_offset + chunk.size_bytes);
        pieces.push_back(piece);
      }
    }
    size_t next = 0;
    for (CopyRange range : ranges) {
      while (range.size_bytes > 0) {
        ASSERT_LT(next, pieces.size());
        const CopyRange& piece = pieces[next++];
        ASSERT_EQ(std::tie(piece.file_offset, piece.segment_offset),
                  std::tie(range.file_offset, range.segment_offset));
        ASSERT_LE(piece.size_bytes, range.size_bytes);
        range.file_offset += piece.size_bytes;
        range.segment_offset += piece.size_bytes;
        range.size_bytes -= piece.size_bytes;
      }
    }
    EXPECT_EQ(next, pieces.size());
  }
}

}  // namespace
}  // namespace modeld::memory
