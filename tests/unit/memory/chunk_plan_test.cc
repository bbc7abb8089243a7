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

constexpr plan::Cast kNarrow = {wire::DType::kF32, wire::DType::kF16};
constexpr plan::Cast kWide = {wire::DType::kF16, wire::DType::kF32};
constexpr plan::Cast kQuarter = {wire::DType::kF64, wire::DType::kBF16};
constexpr plan::Cast kSame = {wire::DType::kBF16, wire::DType::kF16};

// Odd places in the file, and places in the segment that no cut falls on.
TEST(ChunkPlan, CutsCastsBetweenElementsSoThatNeitherSideIsLongerThanAChunk) {
  for (const plan::Cast& cast : {kNarrow, kWide, kQuarter, kSame}) {
    for (const CutAt cut : {CutAt::kSegment, CutAt::kFile}) {
      const CopyRange range = {0, 13, 0, 4096 + 64, 40 * kMiB, cast};
      const uint64_t file_bytes = 41 * kMiB;
      const uint64_t segment_bytes = 100 * kMiB;
      const auto plan = MakeChunks({&range, 1}, {&file_bytes, 1}, {&segment_bytes, 1}, cut);
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_EQ(plan->total_bytes, 40 * kMiB) << "of the file";
      CopyRange rest = range;
      for (const Chunk& chunk : plan->chunks) {
        ASSERT_EQ(chunk.pieces.size(), 1u);
        const CopyRange& piece = chunk.pieces.front();
        EXPECT_EQ(piece.cast, cast);
        EXPECT_EQ(piece.file_offset, rest.file_offset);
        EXPECT_EQ(piece.segment_offset, rest.segment_offset);
        EXPECT_EQ(piece.size_bytes % cast.from_bytes(), 0u);
        EXPECT_LE(piece.size_bytes, kChunkBytes);
        EXPECT_LE(piece.placed_bytes(), kChunkBytes);
        EXPECT_GT(piece.size_bytes, 0u);
        if (&chunk != &plan->chunks.back()) {
          EXPECT_EQ((piece.segment_offset + piece.placed_bytes()) % (2 * kMiB), 0u)
              << "no two readers need one page of the segment";
        }
        rest.file_offset += piece.size_bytes;
        rest.segment_offset += piece.placed_bytes();
        rest.size_bytes -= piece.size_bytes;
      }
      EXPECT_EQ(rest.size_bytes, 0u);
      EXPECT_LE(plan->chunks.size(), 40 * kMiB / (4 * kMiB) + 2) << "no splinters";
    }
  }
}

TEST(ChunkPlan, GathersShortCastsWithOtherRanges) {
  const auto plan =
      Make({{0, 1, 0, 0, 400, kNarrow}, {0, 401, 0, 256, 100}, {0, 502, 0, 512, 200, kWide}},
           {kMiB}, {kMiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->chunks.size(), 1u);
  EXPECT_EQ(plan->chunks[0].size_bytes, 701u);
  EXPECT_EQ(plan->total_bytes, 700u);
}

TEST(ChunkPlan, HoldsCastsAgainstWhatTheyTakeInTheSegment) {
  EXPECT_TRUE(Make({{0, 0, 0, 0, 8, kWide}}, {8}, {16}).ok());
  EXPECT_FALSE(Make({{0, 0, 0, 0, 8, kWide}}, {8}, {15}).ok());
  EXPECT_TRUE(Make({{0, 0, 0, 0, 8, kNarrow}}, {8}, {4}).ok());
  EXPECT_FALSE(Make({{0, 0, 0, 0, 8, kNarrow}}, {7}, {8}).ok());
  EXPECT_TRUE(Make({{0, 0, 0, 0, 8, kWide}, {0, 8, 0, 16, 1}}, {9}, {17}).ok());
  EXPECT_FALSE(Make({{0, 0, 0, 0, 8, kWide}, {0, 8, 0, 15, 1}}, {9}, {17}).ok());
  EXPECT_TRUE(Make({{0, 0, 0, 0, 8, kNarrow}, {0, 8, 0, 4, 1}}, {9}, {17}).ok());
}

TEST(ChunkPlan, RefusesCastsThatAreNone) {
  EXPECT_FALSE(Make({{0, 0, 0, 0, 6, kNarrow}}, {8}, {8}).ok()) << "half an element";
  EXPECT_FALSE(Make({{0, 0, 0, 1, 8, kNarrow}}, {8}, {8}).ok()) << "at an odd place";
  EXPECT_FALSE(
      Make({{0, 0, 0, 0, 8, plan::Cast{wire::DType::kI32, wire::DType::kF32}}}, {8}, {8}).ok());
  EXPECT_FALSE(
      Make({{0, 0, 0, 0, 8, plan::Cast{wire::DType::kF4, wire::DType::kF32}}}, {8}, {80}).ok());
  EXPECT_FALSE(
      Make({{0, 0, 0, 0, 8, plan::Cast{static_cast<wire::DType>(99), wire::DType::kF32}}}, {8}, {8})
          .ok());
  // Its bytes in the segment do not fit 64 bits.
  EXPECT_FALSE(Make({{0, 0, 0, 0, UINT64_MAX - 1, kWide}}, {UINT64_MAX}, {UINT64_MAX}).ok());
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
