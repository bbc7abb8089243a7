#include "table_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <limits>

#include "absl/strings/str_cat.h"

namespace modeld::wire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kMaxDim = std::numeric_limits<int64_t>::max();

TEST(Strides, OfAContiguousTensorAreRowMajor) {
  EXPECT_THAT(ContiguousStrides(Dims{2, 3, 4}), ElementsAre(12, 4, 1));
  EXPECT_THAT(ContiguousStrides(Dims{}), IsEmpty());
  EXPECT_THAT(ContiguousStrides(Dims{5, 0, 3}), ElementsAre(3, 3, 1));
}

TEST(Strides, SaturateInsteadOfOverflowing) {
  EXPECT_THAT(ContiguousStrides(Dims{2, kMaxDim, 4}), ElementsAre(kMaxDim, 4, 1));
}

TEST(ContiguousBytes, CountsWholeBytes) {
  EXPECT_EQ(ContiguousBytes(DType::kF32, Dims{2, 3}), 24u);
  EXPECT_EQ(ContiguousBytes(DType::kF64, Dims{}), 8u);
  EXPECT_EQ(ContiguousBytes(DType::kF4, Dims{2, 3}), 3u);
  EXPECT_EQ(ContiguousBytes(DType::kF6E2M3, Dims{4}), 3u);
}

TEST(ContiguousBytes, IsZeroForAZeroDimensionWhateverTheOthersAre) {
  EXPECT_EQ(ContiguousBytes(DType::kF32, Dims{kMaxDim, kMaxDim, 0}), 0u);
  EXPECT_EQ(ContiguousBytes(DType::kF4, Dims{3, 0}), 0u);
}

TEST(ContiguousBytes, RefusesWhatHasNoSize) {
  EXPECT_EQ(ContiguousBytes(DType::kF32, Dims{kMaxDim, 3}), std::nullopt);
  EXPECT_EQ(ContiguousBytes(DType::kF32, Dims{kMaxDim, 1}), std::nullopt) << "bytes overflow";
  EXPECT_EQ(ContiguousBytes(DType::kU8, Dims{-1}), std::nullopt);
  EXPECT_EQ(ContiguousBytes(DType::kU8, Dims{-1, 0}), std::nullopt);
  EXPECT_EQ(ContiguousBytes(DType::kF4, Dims{3}), std::nullopt);
  EXPECT_EQ(ContiguousBytes(static_cast<DType>(0), Dims{3}), std::nullopt);
  EXPECT_EQ(ContiguousBytes(static_cast<DType>(63), Dims{3}), std::nullopt);
}

TEST(Table, GivesBackWhatWasPutIn) {
  const std::string bytes = GoodTable();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();

  ASSERT_EQ(table->size(), 5u);
  EXPECT_EQ(table->entry(kBias).name, "bias");
  EXPECT_EQ(table->entry(kEmbed).name, "embed");
  EXPECT_EQ(table->entry(kEmpty).name, "empty");
  EXPECT_EQ(table->entry(kScale).name, "scale");
  EXPECT_EQ(table->entry(kView).name, "view");

  const TensorEntry embed = table->entry(kEmbed);
  EXPECT_EQ(embed.dtype, DType::kF32);
  EXPECT_THAT(embed.shape, ElementsAre(2, 3));
  EXPECT_THAT(embed.strides, ElementsAre(3, 1));
  EXPECT_EQ(embed.region, 0u);
  EXPECT_EQ(embed.offset, 0u);
  EXPECT_EQ(embed.size_bytes, 24u);
  EXPECT_FALSE(embed.alias);
  EXPECT_EQ(table->entry(kBias).offset, 24u);
  EXPECT_EQ(table->entry(kEmpty).size_bytes, 0u);
  EXPECT_THAT(table->entry(kScale).shape, IsEmpty());
  EXPECT_EQ(table->entry(kScale).size_bytes, 2u);
  EXPECT_THAT(table->entry(kView).strides, ElementsAre(1, 2));
  EXPECT_EQ(table->entry(kView).region, 1u);

  EXPECT_EQ(table->region_count(), 2u);
  EXPECT_EQ(table->region_size(0), 48u);
  EXPECT_EQ(table->region_size(1), 16u);
  EXPECT_EQ(table->tensor_bytes(), 24u + 16u + 0u + 2u + 16u);
}

TEST(Table, RemembersTheOrderOfTheFile) {
  const std::string bytes = GoodTable();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();
  std::vector<std::string_view> names;
  for (size_t i = 0; i < table->size(); ++i) names.push_back(table->entry(table->in_order(i)).name);
  EXPECT_THAT(names, ElementsAre("embed", "bias", "empty", "scale", "view"));
}

TEST(Table, KeepsMetadataAsInserted) {
  const std::string bytes = GoodTable();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->metadata_count(), 2u);
  EXPECT_EQ(table->metadata(0), std::pair(std::string_view("format"), std::string_view("pt")));
  EXPECT_EQ(table->metadata(1), std::pair(std::string_view("note"), std::string_view("größe")));
}

TEST(Table, FindsEveryNameAndNoOther) {
  TableBuilder builder;
  builder.AddRegion(1000);
  for (int i = 0; i < 100; ++i) {
    AddContiguous(builder, absl::StrCat("layer.", i, ".weight"), DType::kU8, {1}, 999 - i);
  }
  const std::string bytes = builder.Build();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();
  for (int i = 0; i < 100; ++i) {
    const std::string name = absl::StrCat("layer.", i, ".weight");
    const auto index = table->find(name);
    ASSERT_TRUE(index.has_value()) << name;
    EXPECT_EQ(table->entry(*index).name, name);
    EXPECT_FALSE(table->find(name + "x"));
    EXPECT_FALSE(table->find(name.substr(0, name.size() - 1)));
  }
  EXPECT_FALSE(table->find(""));
  EXPECT_FALSE(table->find("\xFF"));
}

TEST(Table, MayBeEmpty) {
  const std::string bytes = TableBuilder().Build();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->size(), 0u);
  EXPECT_EQ(table->region_count(), 0u);
  EXPECT_EQ(table->metadata_count(), 0u);
  EXPECT_EQ(table->tensor_bytes(), 0u);
  EXPECT_FALSE(table->find("x"));
}

TEST(Table, OfNothingAnswersToo) {
  const TableView table;
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.region_count(), 0u);
  EXPECT_EQ(table.metadata_count(), 0u);
  EXPECT_EQ(table.tensor_bytes(), 0u);
  EXPECT_FALSE(table.find("x"));
}

TEST(Table, AcceptsAnEmptyName) {
  TableBuilder builder;
  builder.AddRegion(1);
  AddContiguous(builder, "", DType::kU8, {1}, 0);
  const std::string bytes = builder.Build();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->find(""), 0u);
}

TEST(Table, CountsAliasesOnce) {
  TableBuilder builder;
  builder.AddRegion(8);
  AddContiguous(builder, "a", DType::kU8, {4}, 0, 0, /*alias=*/true);
  AddContiguous(builder, "b", DType::kU8, {4}, 0, 0, /*alias=*/true);
  AddContiguous(builder, "c", DType::kU8, {4}, 4);
  const std::string bytes = builder.Build();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_TRUE(table->entry(0).alias);
  EXPECT_EQ(table->tensor_bytes(), 4u) << "aliases are no bytes of their own";
}

// The documented bytes, written out: a change here breaks what is mapped elsewhere and needs a new
// version.
TEST(Table, HasTheDocumentedBytes) {
  TableBuilder builder;
  builder.AddRegion(0x1122);
  AddContiguous(builder, "w", DType::kBF16, {2, 3}, 0x1000, 0, /*alias=*/true);
  builder.AddMetadata("k", "val");
  const std::string expected(
      "modeldTT"                          // magic
      "\1\0\0\0\0\0\0\0"                  // version, reserved
      "\xb0\0\0\0\0\0\0\0"                // total
      "\1\0\0\0\1\0\0\0"                  // tensors, regions
      "\1\0\0\0\0\0\0\0"                  // metadata, reserved
      "\4\0\0\0\0\0\0\0"                  // dimensions
      "\5\0\0\0\0\0\0\0"                  // string bytes
      "\0\0\0\0\0\0\0\0"                  // reserved
      "\x22\x11\0\0\0\0\0\0"              // region 0
      "\0\x10\0\0\0\0\0\0"                // offset
      "\x0c\0\0\0\0\0\0\0"                // size
      "\0\0\0\0\1\0\0\0"                  // name offset, bytes
      "\0\0\0\0\0\0\0\0"                  // dimensions from, region
      "\7\0\2\0\1\0\0\0"                  // dtype, rank, flags, reserved
      "\0\0\0\0\0\0\0\0"                  // order, padding
      "\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"  // shape
      "\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"  // strides
      "\1\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"  // key and value: offset, bytes
      "wkval\0\0\0",
      0xb0);
  EXPECT_EQ(builder.Build(), expected);
}

// Not the wall clock: other tests run beside this one.
std::chrono::nanoseconds ThreadCpuTime() {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

TEST(Table, OfAHundredThousandTensorsIsCheckedQuickly) {
  constexpr int kTensors = 100'000;
  TableBuilder builder;
  builder.AddRegion(kTensors * 24);
  for (int i = 0; i < kTensors; ++i) {
    AddContiguous(builder, absl::StrCat("model.layers.", i / 10, ".block.", i % 10, ".weight"),
                  DType::kF32, {2, 3}, static_cast<uint64_t>(i) * 24);
  }
  const std::string bytes = builder.Build();
  auto best = std::chrono::nanoseconds::max();
  for (int run = 0; run < 5; ++run) {
    const auto start = ThreadCpuTime();
    const auto table = TableView::Validate(AsBytes(bytes));
    best = std::min(best, ThreadCpuTime() - start);
    ASSERT_TRUE(table.ok()) << table.status();
  }
  RecordProperty("validate_us", static_cast<int>(best.count() / 1000));
#if defined(NDEBUG)
  EXPECT_LT(best, std::chrono::milliseconds(20));
#endif
}

}  // namespace
}  // namespace modeld::wire
