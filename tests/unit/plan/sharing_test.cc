#include "plan/sharing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace modeld::plan {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kMiB = 1 << 20;

// A checkpoint whose tensors have `size` bytes each and hold what their second name says.
struct Laid {
  LoadPlan plan;
  ContentDigests content;
  std::vector<uint64_t> sizes;

  Laid(const std::map<std::string, std::string>& tensors, uint64_t size) {
    wire::TableBuilder builder;
    const uint64_t total = (tensors.size() * size + 2 * kMiB - 1) / (2 * kMiB) * (2 * kMiB);
    builder.AddRegion(total);
    uint64_t offset = 0;
    std::vector<Sample> samples;
    for (const auto& [name, held] : tensors) {
      const int64_t shape[] = {static_cast<int64_t>(size)};
      const int64_t strides[] = {1};
      builder.Add({.name = name,
                   .dtype = wire::DType::kU8,
                   .shape = shape,
                   .strides = strides,
                   .offset = offset,
                   .size_bytes = size});
      plan.ranges.push_back({0, 1000 + offset, 0, offset, size});
      offset += size;
      content.tensors.push_back(wire::TensorDigest(std::as_bytes(std::span(held))));
      Sample sample;
      std::memcpy(sample.data(), &content.tensors.back(), sizeof(sample));
      samples.push_back(sample);
    }
    plan.table = SealedTable::Make(builder.Build(), {}).value();
    plan.segment_sizes = sizes = {total};
    plan.fingerprint = FingerprintOf(plan.table->view(), samples);
  }

  Lender AsLender() const {
    return {.table = &plan.table->view(),
            .fingerprint = &plan.fingerprint,
            .content = &content,
            .segment_sizes = sizes};
  }
};

TEST(Lenders, ThoseWithEnoughInCommonArePromising) {
  const Laid base({{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}}, 2 * kMiB);
  const Laid merge({{"a", "1"}, {"b", "changed"}, {"c", "3"}, {"d", "4"}}, 2 * kMiB);
  const Laid stranger({{"a", "x"}, {"b", "y"}, {"c", "z"}, {"d", "0"}}, 2 * kMiB);
  const Lender lenders[] = {stranger.AsLender(), base.AsLender()};
  EXPECT_THAT(PromisingLenders(merge.plan.table->view(), merge.plan.fingerprint, lenders),
              ElementsAre(1));
}

TEST(SharedPlan, LoadsOnlyWhatTheLenderDoesNotHave) {
  const Laid base({{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}}, 2 * kMiB);
  const Laid merge({{"a", "1"}, {"b", "changed"}, {"c", "3"}, {"d", "4"}}, 2 * kMiB);
  const Lender lenders[] = {base.AsLender()};
  const auto shared = MakeSharedPlan(merge.plan, merge.content, lenders);
  ASSERT_TRUE(shared.ok()) << shared.status();
  ASSERT_THAT(shared->borrowed, SizeIs(1));
  EXPECT_EQ(shared->borrowed[0].used_bytes, 6 * kMiB);
  EXPECT_THAT(shared->plan.segment_sizes, ElementsAre(2 * kMiB));
  // The bytes of `b`, from where they lie in the file.
  ASSERT_THAT(shared->plan.ranges, SizeIs(1));
  EXPECT_EQ(shared->plan.ranges[0], (CopyRange{0, 1000 + 2 * kMiB, 0, 0, 2 * kMiB}));
  const wire::TableView& table = shared->plan.table->view();
  EXPECT_EQ(table.entry(*table.find("b")).region, 0u);
  EXPECT_EQ(table.entry(*table.find("b")).offset, 0u);
  EXPECT_EQ(table.entry(*table.find("c")).region, 1u);
  EXPECT_EQ(table.entry(*table.find("c")).offset, 4 * kMiB);
}

TEST(SharedPlan, NamesDoNotMatter) {
  const Laid base({{"a", "1"}, {"b", "2"}}, 2 * kMiB);
  const Laid renamed({{"x.b", "1"}, {"y.a", "2"}, {"z", "3"}}, 2 * kMiB);
  const Lender lenders[] = {base.AsLender()};
  const auto shared = MakeSharedPlan(renamed.plan, renamed.content, lenders);
  ASSERT_TRUE(shared.ok());
  EXPECT_EQ(shared->borrowed.at(0).used_bytes, 4 * kMiB);
}

TEST(SharedPlan, ASegmentOfWhichLittleIsOfUseIsNotBorrowed) {
  std::map<std::string, std::string> many;
  for (int i = 0; i < 9; ++i) many["t" + std::to_string(i)] = std::to_string(i);
  const Laid base(many, 2 * kMiB);
  const Laid other({{"t0", "0"}, {"t1", "1"}, {"new", "n"}}, 2 * kMiB);
  const Lender lenders[] = {base.AsLender()};
  const auto shared = MakeSharedPlan(other.plan, other.content, lenders);
  ASSERT_TRUE(shared.ok());
  EXPECT_THAT(shared->borrowed, IsEmpty());
}

TEST(SharedPlan, SeveralLendersEachGiveWhatTheyHave) {
  const Laid one({{"a", "1"}, {"b", "2"}}, 2 * kMiB);
  const Laid two({{"c", "3"}, {"d", "4"}}, 2 * kMiB);
  const Laid both({{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}, {"e", "5"}}, 2 * kMiB);
  const Lender lenders[] = {one.AsLender(), two.AsLender()};
  const auto shared = MakeSharedPlan(both.plan, both.content, lenders);
  ASSERT_TRUE(shared.ok());
  EXPECT_THAT(shared->borrowed, SizeIs(2));
  EXPECT_THAT(shared->plan.segment_sizes, ElementsAre(2 * kMiB));
}

TEST(SharedPlan, TwoTensorsOnOneOfTheLendersAreAliases) {
  const Laid base({{"a", "1"}, {"b", "2"}}, 2 * kMiB);
  const Laid twice({{"a", "1"}, {"a2", "1"}, {"n", "3"}}, 2 * kMiB);
  const Lender lenders[] = {base.AsLender()};
  const auto shared = MakeSharedPlan(twice.plan, twice.content, lenders);
  ASSERT_TRUE(shared.ok()) << shared.status();
  const wire::TableView& table = shared->plan.table->view();
  EXPECT_TRUE(table.entry(*table.find("a")).alias);
  EXPECT_TRUE(table.entry(*table.find("a2")).alias);
  EXPECT_EQ(shared->borrowed.at(0).used_bytes, 2 * kMiB);
}

TEST(SharedPlan, WithEverythingBorrowedNothingIsRead) {
  const Laid base({{"a", "1"}, {"b", "2"}, {"c", "3"}}, 2 * kMiB);
  const Laid part({{"a", "1"}, {"b", "2"}}, 2 * kMiB);
  const Lender lenders[] = {base.AsLender()};
  const auto shared = MakeSharedPlan(part.plan, part.content, lenders);
  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_THAT(shared->plan.ranges, IsEmpty());
  EXPECT_THAT(shared->plan.segment_sizes, ElementsAre(2 * kMiB));
}

}  // namespace
}  // namespace modeld::plan
