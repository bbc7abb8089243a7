#include "wire/reference_table.h"

#include <gtest/gtest.h>

#include <cstring>

#include "wire/error.h"

namespace modeld::wire {
namespace {

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(ReferenceTable, GivesBackMetadataAndFiles) {
  ReferenceTableBuilder builder;
  builder.AddMetadata("format", "pt");
  builder.AddFile("tokenizer.json", "{\"a\": 1}");
  builder.AddFile("config.json", "");
  builder.AddFile("tokenizer.json", "the first one stands");
  const std::string bytes = builder.Build();
  const auto table = ReferenceTable::Validate(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->metadata_count(), 1u);
  EXPECT_EQ(table->metadata(0).second, "pt");
  ASSERT_EQ(table->file_count(), 2u);
  EXPECT_EQ(table->file(0).name, "config.json");
  EXPECT_EQ(Text(table->file(0).bytes), "");
  EXPECT_EQ(Text(table->find_file("tokenizer.json")->bytes), "{\"a\": 1}");
  EXPECT_FALSE(table->find_file("vocab.txt"));
}

TEST(ReferenceTable, AnEmptyOneHasNothing) {
  const ReferenceTable none;
  EXPECT_EQ(none.metadata_count(), 0u);
  EXPECT_EQ(none.file_count(), 0u);
  EXPECT_FALSE(none.find_file("a"));
  const std::string bytes = ReferenceTableBuilder().Build();
  const auto empty = ReferenceTable::Validate(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->file_count(), 0u);
}

TEST(ReferenceTable, IsRefusedWhereverItIsCutOrChanged) {
  ReferenceTableBuilder builder;
  builder.AddMetadata("k", "v");
  builder.AddFile("a", "12345678");
  const std::string whole = builder.Build();
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy of its own, so that its address is that of a heap block.
    const std::vector<std::byte> cut(
        std::as_bytes(std::span(whole)).begin(),
        std::as_bytes(std::span(whole)).begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(ReferenceTable::Validate(cut).ok()) << size;
  }
  std::string lies = whole;
  const uint64_t huge = UINT64_MAX - 4;
  std::memcpy(lies.data() + 8, &huge, sizeof(huge));
  EXPECT_EQ(GetReason(ReferenceTable::Validate(std::as_bytes(std::span(lies))).status()),
            Reason::kCheckpointMalformed);
}

TEST(ReferenceTable, AnEntryThatIsNoFileIsRefused) {
  TableBuilder entries;
  entries.AddRegion(8);
  const int64_t shape[] = {2};
  const int64_t strides[] = {1};
  entries.Add(
      {.name = "t", .dtype = DType::kF32, .shape = shape, .strides = strides, .size_bytes = 8});
  const std::string table = entries.Build();
  std::string bytes = "modeldRT";
  const uint64_t size = table.size();
  bytes.append(reinterpret_cast<const char*>(&size), sizeof(size));
  bytes += table + "12345678";
  EXPECT_FALSE(ReferenceTable::Validate(std::as_bytes(std::span(bytes))).ok());
}

}  // namespace
}  // namespace modeld::wire
