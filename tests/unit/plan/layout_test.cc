#include "plan/layout.h"

#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <string>
#include <vector>

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

std::shared_ptr<const LoadPlan> Lay(const Source& source) {
  auto plan = MakeLayout(source.view(), "safetensors", Place::kHost);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? std::make_shared<const LoadPlan>(*std::move(plan)) : nullptr;
}

wire::TensorEntry Entry(const LoadPlan& plan, const std::string& name) {
  const auto index = plan.table->view().find(name);
  EXPECT_TRUE(index) << name;
  return plan.table->view().entry(*index);
}

// What a plan promises whatever the files: exact ranges, every tensor covered and aligned, nothing
// twice.
void ExpectSound(const Source& source, const LoadPlan& plan) {
  ASSERT_EQ(plan.segment_sizes.size(), 1u);
  EXPECT_EQ(plan.segment_sizes[0] % wire::kSegmentUnitBytes, 0u);
  EXPECT_GT(plan.segment_sizes[0], 0u);
  EXPECT_EQ(plan.resident_bytes(), plan.segment_sizes[0]);
  for (size_t i = 0; i < plan.ranges.size(); ++i) {
    const CopyRange& range = plan.ranges[i];
    EXPECT_EQ(range.segment_index, 0u);
    EXPECT_GT(range.size_bytes, 0u);
    EXPECT_LE(range.file_offset + range.size_bytes, source.view().region_size(range.file_index));
    EXPECT_LE(range.segment_offset + range.size_bytes, plan.segment_sizes[0]);
    if (i == 0) continue;
    const CopyRange& before = plan.ranges[i - 1];
    EXPECT_LE(std::pair(before.file_index, before.file_offset + before.size_bytes),
              std::pair(range.file_index, range.file_offset))
        << "sorted by file and offset";
    EXPECT_LE(before.segment_offset + before.size_bytes, range.segment_offset) << "disjoint";
  }
  const wire::TableView& table = plan.table->view();
  ASSERT_EQ(table.size(), source.view().size());
  EXPECT_EQ(table.tensor_bytes(), source.view().tensor_bytes());
  size_t at = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    const wire::TensorEntry from = source.view().entry(source.view().in_order(i));
    const wire::TensorEntry to = table.entry(table.in_order(i));
    EXPECT_EQ(to.name, from.name) << "file order is kept";
    EXPECT_EQ(to.dtype, from.dtype);
    EXPECT_EQ(std::vector(to.shape.begin(), to.shape.end()),
              std::vector(from.shape.begin(), from.shape.end()));
    EXPECT_EQ(to.size_bytes, from.size_bytes);
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
    EXPECT_LE(range.file_offset, from.offset) << from.name;
    EXPECT_GE(range.file_offset + range.size_bytes, from.offset + from.size_bytes) << from.name;
    EXPECT_EQ(to.offset - range.segment_offset, from.offset - range.file_offset) << from.name;
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
    const auto start = std::chrono::steady_clock::now();
    const auto plan = MakeLayout(source.view(), "safetensors", Place::kHost);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(plan.ok()) << plan.status();
    std::cout << "100,000 tensors: " << took.count() << " ms\n";
    EXPECT_LT(took.count(), 5000);  // on a busy machine, with sanitizers
    EXPECT_EQ(plan->ranges.size(), shift == 0 ? 1u : 100'000u);
  }
}

}  // namespace
}  // namespace modeld::plan
