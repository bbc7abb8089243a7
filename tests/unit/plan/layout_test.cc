#include "plan/layout.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "support/cpu_time.h"
#include "wire/error.h"

namespace modeld::plan {
namespace {

struct Tensor {
  std::string name;
  wire::DType dtype = wire::DType::kU8;
  std::vector<int64_t> shape;
  uint32_t file = 0;
  uint64_t offset = 0;
  bool alias = false;
  std::vector<int64_t> strides = {};  // empty: contiguous
  uint64_t size_bytes = 0;            // with strides: of what they reach
};

// A source table of these tensors; keeps its bytes.
class Source {
 public:
  Source(const std::vector<uint64_t>& file_sizes, const std::vector<Tensor>& tensors) {
    wire::TableBuilder builder;
    for (const uint64_t size : file_sizes) builder.AddRegion(size);
    for (const Tensor& tensor : tensors) {
      const bool strided = !tensor.strides.empty();
      const auto strides = strided ? tensor.strides : wire::ContiguousStrides(tensor.shape);
      builder.Add({.name = tensor.name,
                   .dtype = tensor.dtype,
                   .shape = tensor.shape,
                   .strides = strides,
                   .region = tensor.file,
                   .offset = tensor.offset,
                   .size_bytes = strided ? tensor.size_bytes
                                         : *wire::ContiguousBytes(tensor.dtype, tensor.shape),
                   .alias = tensor.alias});
    }
    bytes_ = builder.Build();
    auto view = wire::TableView::Validate(std::as_bytes(std::span(bytes_)));
    EXPECT_TRUE(view.ok()) << view.status();
    if (view.ok()) view_ = *view;
  }

  const wire::TableView& view() const { return view_; }

 private:
  std::string bytes_;
  wire::TableView view_;
};

std::shared_ptr<const LoadPlan> Lay(const Source& source, const LoadConfig& config = {},
                                    Place place = Place::kHost) {
  auto plan = MakeLayout(source.view(), "safetensors", place, config);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? std::make_shared<const LoadPlan>(*std::move(plan)) : nullptr;
}

LoadConfig CastTo(wire::DType dtype) { return {.cast = dtype}; }

wire::TensorEntry Entry(const LoadPlan& plan, const std::string& name) {
  const auto index = plan.table->view().find(name);
  EXPECT_TRUE(index) << name;
  return plan.table->view().entry(*index);
}

// What a plan promises whatever the files: exact ranges, every tensor covered and aligned, nothing
// twice.
void ExpectSound(const Source& source, const LoadPlan& plan, const LoadConfig& config = {}) {
  ASSERT_EQ(plan.segment_sizes.size(), 1u);
  EXPECT_EQ(plan.segment_sizes[0] % wire::kSegmentUnitBytes, 0u);
  EXPECT_GT(plan.segment_sizes[0], 0u);
  EXPECT_EQ(plan.resident_bytes(), plan.segment_sizes[0]);
  for (size_t i = 0; i < plan.ranges.size(); ++i) {
    const CopyRange& range = plan.ranges[i];
    EXPECT_EQ(range.segment_index, 0u);
    EXPECT_GT(range.size_bytes, 0u);
    EXPECT_LE(range.file_offset + range.size_bytes, source.view().region_size(range.file_index));
    EXPECT_LE(range.segment_offset + range.placed_bytes(), plan.segment_sizes[0]);
    if (i == 0) continue;
    const CopyRange& before = plan.ranges[i - 1];
    EXPECT_LE(std::pair(before.file_index, before.file_offset + before.size_bytes),
              std::pair(range.file_index, range.file_offset))
        << "sorted by file and offset";
    EXPECT_LE(before.segment_offset + before.placed_bytes(), range.segment_offset) << "disjoint";
  }
  const wire::TableView& table = plan.table->view();
  ASSERT_EQ(table.size(), source.view().size());
  if (config.empty()) {
    EXPECT_EQ(table.tensor_bytes(), source.view().tensor_bytes());
  }
  size_t at = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    const wire::TensorEntry from = source.view().entry(source.view().in_order(i));
    const wire::TensorEntry to = table.entry(table.in_order(i));
    EXPECT_EQ(to.name, from.name) << "file order is kept";
    EXPECT_EQ(to.dtype, config.TypeOf(from.dtype));
    const std::optional<Cast> cast =
        to.dtype == from.dtype ? std::nullopt : std::optional(Cast{from.dtype, to.dtype});
    const auto placed = [&cast](uint64_t bytes) {
      return cast ? bytes / cast->from_bytes() * cast->to_bytes() : bytes;
    };
    EXPECT_EQ(std::vector(to.shape.begin(), to.shape.end()),
              std::vector(from.shape.begin(), from.shape.end()));
    EXPECT_EQ(to.size_bytes, placed(from.size_bytes));
    EXPECT_EQ(std::vector(to.strides.begin(), to.strides.end()),
              std::vector(from.strides.begin(), from.strides.end()));
    EXPECT_EQ(to.offset % wire::DTypeAlignmentBytes(to.dtype), 0u) << to.name;
    if (from.size_bytes == 0) continue;
    // One range brings all of its bytes to their place.
    while (at < plan.ranges.size() &&
           (plan.ranges[at].file_index < from.region ||
            (plan.ranges[at].file_index == from.region &&
             plan.ranges[at].file_offset + plan.ranges[at].size_bytes <= from.offset))) {
      ++at;
    }
    ASSERT_LT(at, plan.ranges.size()) << from.name;
    const CopyRange& range = plan.ranges[at];
    EXPECT_EQ(range.file_index, from.region);
    EXPECT_EQ(range.cast, cast) << from.name;
    EXPECT_LE(range.file_offset, from.offset) << from.name;
    EXPECT_GE(range.file_offset + range.size_bytes, from.offset + from.size_bytes) << from.name;
    EXPECT_EQ(to.offset - range.segment_offset, placed(from.offset - range.file_offset))
        << from.name;
  }
}

TEST(HostLayout, AnAlignedFileKeepsItsLayoutInOneRange) {
  const Source source({20000},
                      {{.name = "a", .dtype = wire::DType::kF32, .shape = {100}, .offset = 5000},
                       {.name = "b", .dtype = wire::DType::kU8, .shape = {3}, .offset = 5400},
                       {.name = "c", .dtype = wire::DType::kF64, .shape = {1000}, .offset = 6400}});
  const auto plan = Lay(source);
  ExpectSound(source, *plan);
  // From the page of the first tensor to the end of the last one.
  const CopyRange whole = {.file_index = 0,
                           .file_offset = 4096,
                           .segment_index = 0,
                           .segment_offset = 0,
                           .size_bytes = 14400 - 4096};
  EXPECT_EQ(plan->ranges, std::vector{whole});
  EXPECT_EQ(Entry(*plan, "a").offset, 904u);
  EXPECT_EQ(Entry(*plan, "c").offset, 2304u);
  EXPECT_EQ(plan->format, "safetensors");
}

TEST(HostLayout, SegmentAndFileOffsetsAgreeWithinThePageForEveryAlignedFile) {
  std::vector<Tensor> tensors;
  std::vector<uint64_t> sizes;
  for (uint32_t file = 0; file < 50; ++file) {
    const uint64_t offset = 8 + file * 712;  // in ever new places within the page
    tensors.push_back({.name = "t" + std::to_string(file),
                       .dtype = wire::DType::kI64,
                       .shape = {300 + file * 40},
                       .file = file,
                       .offset = offset});
    sizes.push_back(offset + (300 + file * 40) * 8);
  }
  const Source source(sizes, tensors);
  const auto plan = Lay(source);
  ExpectSound(source, *plan);
  EXPECT_EQ(plan->ranges.size(), 50u);
  for (const CopyRange& range : plan->ranges) {
    EXPECT_EQ(range.file_offset % 4096, 0u);
    EXPECT_EQ(range.segment_offset % 4096, 0u);
  }
}

TEST(HostLayout, AMisalignedFileIsPackedAtCacheLines) {
  const Source source({20000},
                      {{.name = "a", .dtype = wire::DType::kF32, .shape = {100}, .offset = 5001},
                       {.name = "b", .dtype = wire::DType::kU8, .shape = {3}, .offset = 5401},
                       {.name = "c", .dtype = wire::DType::kF64, .shape = {10}, .offset = 5404}});
  const auto plan = Lay(source);
  ExpectSound(source, *plan);
  EXPECT_EQ(Entry(*plan, "a").offset, 0u);
  EXPECT_EQ(Entry(*plan, "b").offset, 448u);
  EXPECT_EQ(Entry(*plan, "c").offset, 512u);
  EXPECT_EQ(plan->ranges.size(), 3u);
}

TEST(HostLayout, NeighboursInAPackedFileShareARange) {
  const Source source({1000},
                      {{.name = "a", .dtype = wire::DType::kF32, .shape = {16}, .offset = 9},
                       {.name = "b", .dtype = wire::DType::kF32, .shape = {32}, .offset = 73},
                       {.name = "c", .dtype = wire::DType::kF32, .shape = {1}, .offset = 201},
                       {.name = "d", .dtype = wire::DType::kF32, .shape = {1}, .offset = 205}});
  const auto plan = Lay(source);
  ExpectSound(source, *plan);
  ASSERT_EQ(plan->ranges.size(), 2u);
  EXPECT_EQ(plan->ranges[0].size_bytes, 64u + 128u + 4u);
}

TEST(HostLayout, OneMisalignedFileDoesNotMakeTheOthersMove) {
  const Source source(
      {9000, 9000, 9000},
      {{.name = "a", .dtype = wire::DType::kF32, .shape = {1000}, .file = 0, .offset = 100},
       {.name = "b", .dtype = wire::DType::kF32, .shape = {1000}, .file = 1, .offset = 101},
       {.name = "c", .dtype = wire::DType::kF32, .shape = {1000}, .file = 2, .offset = 4100}});
  const auto plan = Lay(source);
  ExpectSound(source, *plan);
  EXPECT_EQ(Entry(*plan, "a").offset % 4096, 100u);
  EXPECT_EQ(Entry(*plan, "b").offset % 64, 0u);
  EXPECT_EQ(Entry(*plan, "c").offset % 4096, 4u);
}

TEST(HostLayout, EmptyTensorsHaveAnAddressAndNoBytes) {
  const Source source(
      {100}, {{.name = "before", .dtype = wire::DType::kF64, .shape = {0}, .offset = 13},
              {.name = "odd", .dtype = wire::DType::kU8, .shape = {3}, .offset = 13},
              {.name = "within", .dtype = wire::DType::kF64, .shape = {2, 0}, .offset = 15},
              {.name = "after", .dtype = wire::DType::kF64, .shape = {0, 7}, .offset = 16}});
  const auto plan = Lay(source);
  ExpectSound(source, *plan);
  EXPECT_EQ(plan->ranges.size(), 1u)
      << "an empty tensor at an odd place does not make a file misaligned";
  EXPECT_EQ(Entry(*plan, "odd").offset, 13u);
}

TEST(HostLayout, ACheckpointWithoutBytesHasOneSegmentAndNoRanges) {
  const Source none({10}, {});
  const auto plan = Lay(none);
  ExpectSound(none, *plan);
  EXPECT_EQ(plan->segment_sizes, std::vector{wire::kSegmentUnitBytes});
  EXPECT_TRUE(plan->ranges.empty());

  const Source empty({5000},
                     {{.name = "e", .dtype = wire::DType::kF64, .shape = {0}, .offset = 4999}});
  const auto other = Lay(empty);
  ExpectSound(empty, *other);
  EXPECT_TRUE(other->ranges.empty());
}

TEST(HostLayout, AliasesMoveTogetherWhenTheirFileIsPacked) {
  const Source source(
      {1000}, {{.name = "a", .dtype = wire::DType::kF32, .shape = {8}, .offset = 33, .alias = true},
               {.name = "b", .dtype = wire::DType::kF32, .shape = {4}, .offset = 49, .alias = true},
               {.name = "c", .dtype = wire::DType::kF32, .shape = {4}, .offset = 101}});
  const auto plan = Lay(source);
  EXPECT_EQ(Entry(*plan, "b").offset - Entry(*plan, "a").offset, 16u);
  EXPECT_EQ(plan->ranges.size(), 2u);
  EXPECT_TRUE(Entry(*plan, "a").alias);
}

TEST(HostLayout, TheSegmentIsAMultipleOfTwoMebibytes) {
  const auto resident = [](uint64_t bytes) {
    const Source source({bytes}, {{.name = "t", .shape = {static_cast<int64_t>(bytes)}}});
    return Lay(source)->resident_bytes();
  };
  EXPECT_EQ(resident(1), 2u << 20);
  EXPECT_EQ(resident(2 << 20), 2u << 20);
  EXPECT_EQ(resident((2 << 20) + 1), 4u << 20);
}

// A training checkpoint of which the optimizer's state is not wanted.
TEST(HostLayout, WhatLiesBetweenWantedTensorsIsNotLoaded) {
  const uint64_t mib = 1 << 20;
  const auto tensor = [&](const char* name, uint64_t offset) {
    return Tensor{.name = name, .shape = {static_cast<int64_t>(mib)}, .offset = offset};
  };
  const Source source({100 * mib}, {tensor("a", 0), tensor("b", 50 * mib), tensor("c", 99 * mib)});
  const auto plan = Lay(source);
  EXPECT_EQ(plan->resident_bytes(), 4 * mib);
  EXPECT_EQ(plan->ranges.size(), 3u);
}

TEST(HostLayout, SizesThatOverflowAreRefused) {
  const int64_t most = INT64_MAX;
  // Kept as it is; packed (at an odd place); and packed in so many pieces that only the padding is
  // too much.
  const Source kept({uint64_t{INT64_MAX}}, {{.name = "t", .shape = {most}}});
  const Source packed(
      {uint64_t{INT64_MAX}},
      {{.name = "t", .dtype = wire::DType::kI16, .shape = {most / 2}, .offset = 1}});
  const Source padded({uint64_t{INT64_MAX}},
                      {{.name = "a", .dtype = wire::DType::kI16, .shape = {1}, .offset = 1},
                       {.name = "b", .shape = {most - 3 - (2 << 20)}, .offset = 3},
                       {.name = "c", .shape = {2 << 20}, .offset = uint64_t(most - (2 << 20))}});
  for (const Source* source : {&kept, &packed, &padded}) {
    const auto plan = MakeLayout(source->view(), "safetensors", Place::kHost);
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted) << plan.status();
    EXPECT_EQ(wire::GetReason(plan.status()), wire::Reason::kBudgetExceeded);
  }
}

TEST(HostLayout, TensorsThatAreReadWithoutBoundAreRefused) {
  // One byte, 64 times the smallest segment: allowed. Once more: not.
  constexpr int64_t kMost = 64 * static_cast<int64_t>(wire::kSegmentUnitBytes);
  const auto source = [](int64_t elements) {
    return Source({64}, {{.name = "w", .shape = {elements}, .strides = {0}, .size_bytes = 1}});
  };
  EXPECT_TRUE(MakeLayout(source(kMost).view(), "safetensors", Place::kHost).ok());
  const auto refused = MakeLayout(source(kMost + 1).view(), "safetensors", Place::kHost);
  EXPECT_EQ(wire::GetErrorInfo(refused.status()).reason, wire::Reason::kCheckpointMalformed);
  EXPECT_NE(refused.status().message().find("\"w\""), std::string::npos) << refused.status();
}

TEST(CastLayout, TensorsThatAreCastHaveTheNewTypeAndItsSize) {
  const Source source({8192},
                      {{.name = "a", .dtype = wire::DType::kF32, .shape = {32}},
                       {.name = "b", .dtype = wire::DType::kF32, .shape = {64}, .offset = 128},
                       {.name = "c", .dtype = wire::DType::kF32, .shape = {3}, .offset = 384},
                       {.name = "d", .dtype = wire::DType::kF32, .shape = {9}, .offset = 396}});
  const LoadConfig config = CastTo(wire::DType::kBF16);
  const auto plan = Lay(source, config);
  ExpectSound(source, *plan, config);
  EXPECT_EQ(Entry(*plan, "a").size_bytes, 64u);
  EXPECT_EQ(Entry(*plan, "b").offset, 64u);
  EXPECT_EQ(Entry(*plan, "d").offset, 256u) << "at a cache line";
  // The first three are neighbours in the file and in the segment; padding is before the fourth.
  const Cast cast = {wire::DType::kF32, wire::DType::kBF16};
  const std::vector<CopyRange> ranges = {
      {.file_offset = 0, .segment_offset = 0, .size_bytes = 396, .cast = cast},
      {.file_offset = 396, .segment_offset = 256, .size_bytes = 36, .cast = cast}};
  EXPECT_EQ(plan->ranges, ranges);
}

TEST(CastLayout, TheSegmentIsWhatTheCastTakes) {
  const auto resident = [](wire::DType from, wire::DType to) {
    constexpr uint64_t kElements = 3 << 20;
    const uint64_t bytes = kElements * wire::DTypeBits(from) / 8;
    const Source source({bytes}, {{.name = "t", .dtype = from, .shape = {kElements}}});
    return Lay(source, CastTo(to))->resident_bytes();
  };
  EXPECT_EQ(resident(wire::DType::kF32, wire::DType::kF16), 6u << 20);
  EXPECT_EQ(resident(wire::DType::kF16, wire::DType::kF32), 12u << 20);
  EXPECT_EQ(resident(wire::DType::kF64, wire::DType::kBF16), 6u << 20);
  EXPECT_EQ(resident(wire::DType::kF16, wire::DType::kBF16), 6u << 20);
  EXPECT_EQ(resident(wire::DType::kI32, wire::DType::kF16), 12u << 20);
}

TEST(CastLayout, AFileOfSeveralTypesHasBothKindsOfRanges) {
  const Source source(
      {9000}, {{.name = "half", .dtype = wire::DType::kF16, .shape = {100}, .offset = 100},
               {.name = "int", .dtype = wire::DType::kI64, .shape = {100}, .offset = 300},
               {.name = "float", .dtype = wire::DType::kF32, .shape = {100}, .offset = 1100},
               {.name = "small", .dtype = wire::DType::kF8E4M3, .shape = {7}, .offset = 1500},
               {.name = "double", .dtype = wire::DType::kF64, .shape = {100}, .offset = 1507}});
  for (const auto to : {wire::DType::kF16, wire::DType::kF32, wire::DType::kBF16}) {
    for (const Place place : {Place::kHost, Place::kDevice}) {
      const auto plan = Lay(source, CastTo(to), place);
      ExpectSound(source, *plan, CastTo(to));
      EXPECT_EQ(plan->ranges.size(), 5u);
      for (const CopyRange& range : plan->ranges) {
        EXPECT_EQ(range.segment_offset % (place == Place::kHost ? 64 : 512), 0u);
      }
    }
  }
}

TEST(CastLayout, FilesWithNothingToCastKeepTheirLayout) {
  const Source source(
      {9000, 9000},
      {{.name = "a", .dtype = wire::DType::kF16, .shape = {1000}, .file = 0, .offset = 4100},
       {.name = "e", .dtype = wire::DType::kF32, .shape = {0}, .file = 0, .offset = 6100},
       {.name = "b", .dtype = wire::DType::kF32, .shape = {1000}, .file = 1, .offset = 4100}});
  const auto plan = Lay(source, CastTo(wire::DType::kF16));
  ExpectSound(source, *plan, CastTo(wire::DType::kF16));
  ASSERT_EQ(plan->ranges.size(), 2u);
  EXPECT_EQ(plan->ranges[0].file_offset, 4096u);
  EXPECT_EQ(Entry(*plan, "a").offset, 4u);
  EXPECT_EQ(Entry(*plan, "e").dtype, wire::DType::kF16);
}

TEST(CastLayout, TensorsThatShareBytesAreCastOnceAndShareThemStill) {
  const Source source(
      {1000},
      {{.name = "whole", .dtype = wire::DType::kF32, .shape = {4, 8}, .offset = 12, .alias = true},
       {.name = "part", .dtype = wire::DType::kF32, .shape = {8}, .offset = 44, .alias = true},
       {.name = "column",
        .dtype = wire::DType::kF32,
        .shape = {4},
        .offset = 16,
        .alias = true,
        .strides = {8},
        .size_bytes = 100},
       {.name = "none", .dtype = wire::DType::kF64, .shape = {0}, .offset = 45}});
  const auto plan = Lay(source, CastTo(wire::DType::kF16));
  ExpectSound(source, *plan, CastTo(wire::DType::kF16));
  ASSERT_EQ(plan->ranges.size(), 1u);
  EXPECT_EQ(plan->ranges[0].size_bytes, 128u);
  EXPECT_EQ(Entry(*plan, "part").offset - Entry(*plan, "whole").offset, 16u);
  EXPECT_EQ(Entry(*plan, "column").offset - Entry(*plan, "whole").offset, 2u);
  EXPECT_EQ(Entry(*plan, "column").size_bytes, 50u);
}

TEST(CastLayout, TensorsThatShareBytesAndNotTheirElementsAreRefusedByName) {
  const auto share = [](wire::DType other, uint64_t offset) {
    return Source(
        {1000},
        {{.name = "a", .dtype = wire::DType::kF32, .shape = {8}, .offset = 64, .alias = true},
         {.name = "b", .dtype = other, .shape = {4}, .offset = offset, .alias = true}});
  };
  const auto refusal = [](const Source& source, wire::DType to) {
    return MakeLayout(source.view(), "safetensors", Place::kHost, CastTo(to)).status();
  };
  for (const auto other : {wire::DType::kI32, wire::DType::kF16, wire::DType::kF4}) {
    const absl::Status status = refusal(share(other, 72), wire::DType::kBF16);
    EXPECT_EQ(wire::GetReason(status), wire::Reason::kFormatUnsupported) << status;
    EXPECT_NE(status.message().find("\"a\" (F32)"), std::string::npos) << status;
    EXPECT_NE(status.message().find("\"b\" ("), std::string::npos) << status;
  }
  // The other of the two is what would be cast.
  EXPECT_EQ(wire::GetReason(refusal(share(wire::DType::kF16, 72), wire::DType::kF32)),
            wire::Reason::kFormatUnsupported);
  // Elements of one type that begin within one another.
  EXPECT_EQ(wire::GetReason(refusal(share(wire::DType::kF32, 70), wire::DType::kF16)),
            wire::Reason::kFormatUnsupported);
  // Neither is cast.
  EXPECT_TRUE(refusal(share(wire::DType::kI32, 72), wire::DType::kF32).ok());
}

TEST(CastLayout, SizesThatOverflowOnlyWhenTheyAreCastAreRefused) {
  const Source source({uint64_t{INT64_MAX}},
                      {{.name = "t", .dtype = wire::DType::kF16, .shape = {INT64_MAX / 2}}});
  const auto status =
      MakeLayout(source.view(), "safetensors", Place::kHost, CastTo(wire::DType::kF32)).status();
  EXPECT_EQ(wire::GetReason(status), wire::Reason::kBudgetExceeded) << status;
}

TEST(HostLayout, EmptyTensorsWithinAliasesHaveAnAlignedAddress) {
  const Source source({1000},
                      {{.name = "a", .dtype = wire::DType::kU8, .shape = {9}, .offset = 33},
                       {.name = "none", .dtype = wire::DType::kF64, .shape = {0}, .offset = 36},
                       {.name = "b", .dtype = wire::DType::kF32, .shape = {4}, .offset = 101}});
  ExpectSound(source, *Lay(source));
}

TEST(HostLayout, AHundredThousandTensorsAreLaidOutInAFractionOfASecond) {
  for (const uint64_t shift : {0, 1}) {
    std::vector<Tensor> tensors;
    uint64_t offset = 4096 + shift;
    for (int i = 0; i < 100'000; ++i) {
      tensors.push_back({.name = "model.layers." + std::to_string(i) + ".weight",
                         .dtype = wire::DType::kF32,
                         .shape = {3, 5},
                         .offset = offset});
      offset += 60;
    }
    const Source source({offset}, tensors);
    const auto plan = test::WithinCpuSeconds(
        2, [&] { return MakeLayout(source.view(), "safetensors", Place::kHost); });
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->ranges.size(), shift == 0 ? 1u : 100'000u);
  }
}

}  // namespace
}  // namespace modeld::plan
