#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "table_fixture.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::wire {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

absl::Status Check(const std::string& table, const ValidateOptions& options = {}) {
  return TableView::Validate(AsBytes(table), options).status();
}

// What Validate says about the good table with one thing changed.
absl::Status After(const std::function<void(TableEditor&)>& edit) {
  std::string table = GoodTable();
  TableEditor editor(table);
  edit(editor);
  return Check(table);
}

void ExpectMalformed(const absl::Status& status, std::string_view words,
                     std::string_view tensor = {}) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(GetReason(status), Reason::kCheckpointMalformed) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(words)));
  if (!tensor.empty()) {
    EXPECT_EQ(GetErrorInfo(status).metadata["tensor"], tensor) << status;
  }
}

TEST(TableValidator, AcceptsTheGoodTable) { EXPECT_TRUE(Check(GoodTable()).ok()); }

// --- header

TEST(TableValidator, RefusesEveryTruncation) {
  const std::string good = GoodTable();
  for (size_t size = 0; size < good.size(); ++size) {
    const std::string cut = good.substr(0, size);
    // A heap block of that size, so that AddressSanitizer sees a read beyond it.
    std::vector<uint64_t> exact((size + 7) / 8);
    if (size > 0) std::memcpy(exact.data(), cut.data(), size);
    ExpectMalformed(TableView::Validate(std::as_bytes(std::span(exact)).first(size)).status(),
                    "tensor table");
  }
}

TEST(TableValidator, RefusesBytesAfterTheEnd) {
  ExpectMalformed(Check(GoodTable() + std::string(8, '\0')), "bytes");
}

TEST(TableValidator, RefusesAnotherMagic) {
  ExpectMalformed(After([](auto& t) { t.EditHeader([](auto& h) { h.magic[7] = 'X'; }); }), "begin");
}

TEST(TableValidator, RefusesAnotherVersion) {
  ExpectMalformed(After([](auto& t) { t.EditHeader([](auto& h) { h.version = 2; }); }),
                  "version 2");
}

TEST(TableValidator, RefusesReservedFieldsThatAreSet) {
  ExpectMalformed(After([](auto& t) { t.EditHeader([](auto& h) { h.reserved0 = 1; }); }),
                  "reserved");
  ExpectMalformed(After([](auto& t) { t.EditHeader([](auto& h) { h.reserved1 = 1; }); }),
                  "reserved");
  ExpectMalformed(After([](auto& t) { t.EditHeader([](auto& h) { h.reserved2 = 1; }); }),
                  "reserved");
}

TEST(TableValidator, RefusesCountsThatDoNotFitTheBytes) {
  for (const uint32_t count : {0u, 1u, 4u, 6u, 0x7fffffffu, 0xffffffffu}) {
    ExpectMalformed(After([&](auto& t) { t.EditHeader([&](auto& h) { h.tensor_count = count; }); }),
                    "bytes");
  }
  for (const uint32_t count : {0u, 1u, 3u, 0xffffffffu}) {
    ExpectMalformed(After([&](auto& t) { t.EditHeader([&](auto& h) { h.region_count = count; }); }),
                    "bytes");
    ExpectMalformed(
        After([&](auto& t) { t.EditHeader([&](auto& h) { h.metadata_count = count; }); }), "bytes");
  }
  for (const uint64_t count : {uint64_t{0}, uint64_t{11}, uint64_t{0xffffffff},
                               uint64_t{0x100000000}, uint64_t{1} << 61, ~uint64_t{0}}) {
    ExpectMalformed(After([&](auto& t) { t.EditHeader([&](auto& h) { h.dim_count = count; }); }),
                    "bytes");
    ExpectMalformed(After([&](auto& t) { t.EditHeader([&](auto& h) { h.string_bytes = count; }); }),
                    "bytes");
  }
}

TEST(TableValidator, RefusesATotalThatIsNotTheSize) {
  ExpectMalformed(After([](auto& t) { t.EditHeader([](auto& h) { h.total_bytes += 8; }); }),
                  "bytes");
}

TEST(TableValidator, RefusesAnAddressThatIsNotAligned) {
  std::string shifted = "12345678" + GoodTable();
  const auto status = TableView::Validate(AsBytes(shifted).subspan(4)).status();
  EXPECT_EQ(GetReason(status), Reason::kInternal) << status;
}

TEST(TableValidator, RefusesPaddingThatIsNotZero) {
  const std::string good = GoodTable();
  std::string copy = good;
  const TableEditor editor(copy);
  const auto sections = editor.sections();
  ASSERT_LT(sections.strings + editor.header().string_bytes, sections.end);
  std::string spoiled = good;
  spoiled.back() = 'x';
  ExpectMalformed(Check(spoiled), "padding");
  spoiled = good;
  ASSERT_EQ(editor.header().tensor_count % 2, 1u) << "else the order needs no padding";
  spoiled[sections.dims - 1] = '\1';
  ExpectMalformed(Check(spoiled), "padding");
}

// --- regions

TEST(TableValidator, RefusesRegionsWhoseSumOverflows) {
  ExpectMalformed(After([](auto& t) { t.SetRegion(0, uint64_t{1} << 63); }), "2^63-1");
  ExpectMalformed(After([](auto& t) { t.SetRegion(1, ~uint64_t{0}); }), "2^63-1");
  ExpectMalformed(After([](auto& t) {
                    t.SetRegion(0, uint64_t{1} << 62);
                    t.SetRegion(1, uint64_t{1} << 62);
                  }),
                  "2^63-1");
  EXPECT_TRUE(After([](auto& t) { t.SetRegion(0, (uint64_t{1} << 63) - 17); }).ok());
}

TEST(TableValidator, HoldsTheTableToTheRegionsThatThereAre) {
  const std::string good = GoodTable();
  const std::vector<uint64_t> exact = {48, 16};
  EXPECT_TRUE(Check(good, {.region_sizes = exact}).ok());
  const std::vector<uint64_t> more = {100, 100, 100};
  EXPECT_TRUE(Check(good, {.region_sizes = more}).ok());
  const std::vector<uint64_t> smaller = {48, 15};
  ExpectMalformed(Check(good, {.region_sizes = smaller}), "region 1");
  const std::vector<uint64_t> fewer = {48};
  ExpectMalformed(Check(good, {.region_sizes = fewer}), "2 regions");
  const std::vector<uint64_t> none;
  ExpectMalformed(Check(good, {.region_sizes = none}), "2 regions");
}

// --- names

TEST(TableValidator, RefusesANameThatIsThereTwice) {
  TableBuilder builder;
  builder.AddRegion(8);
  AddContiguous(builder, "same", DType::kU8, {1}, 0);
  AddContiguous(builder, "same", DType::kU8, {1}, 1);
  ExpectMalformed(Check(builder.Build()), "twice", "same");
}

TEST(TableValidator, RefusesNamesOutOfOrder) {
  std::string table = GoodTable();
  const size_t at = TableEditor(table).sections().strings;
  ASSERT_EQ(table.substr(at, 4), "bias");
  table[at] = 'z';
  ExpectMalformed(Check(table), "order of names", "embed");
}

TEST(TableValidator, SortsNamesByUnsignedBytes) {
  TableBuilder builder;
  builder.AddRegion(8);
  AddContiguous(builder, "é", DType::kU8, {1}, 0);
  AddContiguous(builder, "z", DType::kU8, {1}, 1);
  AddContiguous(builder, "𝄞", DType::kU8, {1}, 2);
  const std::string bytes = builder.Build();
  const auto table = TableView::Validate(AsBytes(bytes));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->entry(0).name, "z");
  EXPECT_EQ(table->entry(1).name, "é");
  EXPECT_EQ(table->entry(2).name, "𝄞");
}

TEST(TableValidator, RefusesANameThatIsNotUtf8) {
  std::string table = GoodTable();
  table[TableEditor(table).sections().strings] = '\xff';
  ExpectMalformed(Check(table), "not UTF-8");
}

TEST(TableValidator, RefusesNamesThatLieElsewhere) {
  for (const uint32_t offset : {0u, 1u, 3u, 5u, 0xffffffffu}) {
    ExpectMalformed(
        After([&](auto& t) { t.EditTensor(kEmbed, [&](auto& e) { e.name_offset = offset; }); }),
        "a tensor's name is not where it should be");
  }
  for (const uint32_t size : {1000u, 0xfffffffcu, 0xffffffffu}) {
    ExpectMalformed(
        After([&](auto& t) { t.EditTensor(kView, [&](auto& e) { e.name_bytes = size; }); }),
        "a tensor's name is not where it should be");
  }
}

TEST(TableValidator, QuotesANameWithoutControlCharacters) {
  TableBuilder builder;
  AddContiguous(builder, "\x1b[31m" + std::string(100'000, 'x'), DType::kU8, {1}, 0);
  const auto status = Check(builder.Build());
  ExpectMalformed(status, "\\033[31mxxx");
  EXPECT_LT(status.message().size(), 500u);
  EXPECT_LT(SerializeDetail(status).size(), 2000u);
}

// --- dtype, flags, dimensions

TEST(TableValidator, RefusesUnknownDtypes) {
  for (const uint16_t dtype : {0, 25, 64, 73, 255, 65535}) {
    ExpectMalformed(After([&](auto& t) { t.EditTensor(kBias, [&](auto& e) { e.dtype = dtype; }); }),
                    "unknown dtype", "bias");
  }
}

TEST(TableValidator, RefusesUnknownFlags) {
  ExpectMalformed(After([](auto& t) { t.EditTensor(kBias, [](auto& e) { e.flags = 2; }); }),
                  "flags", "bias");
  ExpectMalformed(After([](auto& t) { t.EditTensor(kBias, [](auto& e) { e.reserved = 1; }); }),
                  "flags", "bias");
}

TEST(TableValidator, BoundsTheRank) {
  const auto of_rank = [](size_t rank) {
    TableBuilder builder;
    builder.AddRegion(8);
    AddContiguous(builder, "deep", DType::kU8, Dims(rank, 1), 0);
    return Check(builder.Build());
  };
  EXPECT_TRUE(of_rank(64).ok());
  ExpectMalformed(of_rank(65), "65 dimensions", "deep");
  ExpectMalformed(of_rank(70'000), "65535 dimensions", "deep");
}

TEST(TableValidator, RefusesDimensionsThatLieElsewhere) {
  for (const uint32_t begin : {0u, 1u, 4u, 100u, 0xffffffffu}) {
    ExpectMalformed(
        After([&](auto& t) { t.EditTensor(kEmbed, [&](auto& e) { e.dim_begin = begin; }); }),
        "dimensions elsewhere", "embed");
  }
  ExpectMalformed(After([](auto& t) { t.EditTensor(kView, [](auto& e) { e.rank = 3; }); }),
                  "dimensions elsewhere", "view");
}

TEST(TableValidator, RefusesDimensionsThatBelongToNoTensor) {
  ExpectMalformed(After([](auto& t) {
                    t.EditTensor(kView, [](auto& e) {
                      e.rank = 0;
                      e.size_bytes = 4;
                    });
                  }),
                  "belong to no tensor");
}

TEST(TableValidator, RefusesNegativeDimensionsAndStrides) {
  ExpectMalformed(After([](auto& t) { t.SetShape(kEmbed, 0, -2); }), "negative dimension", "embed");
  ExpectMalformed(After([](auto& t) { t.SetShape(kEmbed, 1, INT64_MIN); }), "negative dimension",
                  "embed");
  ExpectMalformed(After([](auto& t) { t.SetStride(kEmbed, 1, -1); }), "negative stride", "embed");
  ExpectMalformed(After([](auto& t) { t.SetStride(kEmpty, 1, -1); }), "negative stride", "empty");
}

TEST(TableValidator, RefusesAsManyStridesAsAreNotDimensions) {
  for (const Dims& strides : {Dims{}, Dims{1}, Dims{3, 1, 1}}) {
    TableBuilder builder;
    builder.AddRegion(24);
    AddStrided(builder, "w", DType::kF32, {2, 3}, strides, 0, 24);
    ExpectMalformed(Check(builder.Build()), "negative stride", "w");
  }
}

// --- size

TEST(TableValidator, RefusesASizeThatIsNotTheShapes) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{23}, uint64_t{25}, ~uint64_t{0}}) {
    ExpectMalformed(
        After([&](auto& t) { t.EditTensor(kEmbed, [&](auto& e) { e.size_bytes = size; }); }),
        "its shape takes 24", "embed");
  }
  ExpectMalformed(After([](auto& t) { t.EditTensor(kEmpty, [](auto& e) { e.size_bytes = 1; }); }),
                  "its shape takes 0", "empty");
}

TEST(TableValidator, RefusesShapesThatOverflow) {
  ExpectMalformed(After([](auto& t) { t.SetShape(kEmbed, 0, kMaxInt64); }), "overflow", "embed");
  ExpectMalformed(After([](auto& t) {
                    t.SetShape(kEmbed, 0, int64_t{1} << 32);
                    t.SetShape(kEmbed, 1, int64_t{1} << 32);
                  }),
                  "overflow", "embed");
  ExpectMalformed(After([](auto& t) { t.SetShape(kBias, 0, int64_t{1} << 62); }), "overflow",
                  "bias");
}

TEST(TableValidator, RefusesStridesThatOverflow) {
  ExpectMalformed(After([](auto& t) {
                    t.SetShape(kView, 0, 4);
                    t.SetStride(kView, 0, kMaxInt64);
                  }),
                  "overflow", "view");
  ExpectMalformed(After([](auto& t) {
                    t.SetStride(kView, 0, kMaxInt64);
                    t.SetStride(kView, 1, kMaxInt64);
                  }),
                  "overflow", "view");
}

TEST(TableValidator, MeasuresStridedTensorsByTheirExtent) {
  const auto check = [](Dims shape, Dims strides, uint64_t size) {
    TableBuilder builder;
    builder.AddRegion(1000);
    AddStrided(builder, "w", DType::kF32, shape, strides, 0, size);
    return Check(builder.Build());
  };
  EXPECT_TRUE(check({3, 2}, {1, 3}, 24).ok()) << "transposed";
  EXPECT_TRUE(check({3, 2}, {10, 1}, 88).ok()) << "a window of a wider matrix";
  EXPECT_TRUE(check({5, 2}, {0, 1}, 8).ok()) << "expanded";
  EXPECT_TRUE(check({1, 2}, {777, 1}, 8).ok()) << "the stride of a dimension of one does not count";
  ExpectMalformed(check({3, 2}, {10, 1}, 24), "its shape takes 88", "w");
}

TEST(TableValidator, WantsTypesOfLessThanAByteWholeAndContiguous) {
  const auto check = [](DType dtype, Dims shape, Dims strides, uint64_t size) {
    TableBuilder builder;
    builder.AddRegion(1000);
    AddStrided(builder, "w", dtype, shape, strides, 0, size);
    return Check(builder.Build());
  };
  EXPECT_TRUE(check(DType::kF4, {2, 3}, {3, 1}, 3).ok());
  EXPECT_TRUE(check(DType::kF6E3M2, {4}, {1}, 3).ok());
  EXPECT_TRUE(check(DType::kF4, {0, 3}, {3, 1}, 0).ok());
  ExpectMalformed(check(DType::kF4, {3}, {1}, 2), "whole bytes", "w");
  ExpectMalformed(check(DType::kF4, {2, 3}, {1, 2}, 3), "not contiguous", "w");
}

TEST(TableValidator, WantsBlocksWholeInEveryRowAndContiguous) {
  const auto check = [](DType dtype, Dims shape, Dims strides, uint64_t size) {
    TableBuilder builder;
    builder.AddRegion(1000);
    AddStrided(builder, "w", dtype, shape, strides, 0, size);
    return Check(builder.Build());
  };
  EXPECT_TRUE(check(DType::kGgmlQ4_0, {2, 64}, {64, 1}, 72).ok());
  EXPECT_TRUE(check(DType::kGgmlQ6_K, {256}, {1}, 210).ok());
  EXPECT_TRUE(check(DType::kGgmlQ4_0, {0, 32}, {32, 1}, 0).ok());
  ExpectMalformed(check(DType::kGgmlQ4_0, {2, 16}, {16, 1}, 18), "whole blocks", "w");
  ExpectMalformed(check(DType::kGgmlQ4_0, {64, 2}, {2, 1}, 72), "whole blocks", "w");
  ExpectMalformed(check(DType::kGgmlQ4_0, {}, {}, 18), "whole blocks", "w");
  ExpectMalformed(check(DType::kGgmlQ4_0, {2, 64}, {64, 1}, 71), "its shape takes 72", "w");
  ExpectMalformed(check(DType::kGgmlQ4_0, {2, 32}, {64, 1}, 36), "not contiguous", "w");
  constexpr int64_t kHuge = int64_t{1} << 62;
  ExpectMalformed(check(DType::kGgmlQ8_0, {kHuge, 32}, {32, 1}, 34), "overflow", "w");
}

// --- place

TEST(TableValidator, RefusesARegionThatIsNotThere) {
  for (const uint32_t region : {2u, 0xffffffffu}) {
    ExpectMalformed(
        After([&](auto& t) { t.EditTensor(kView, [&](auto& e) { e.region = region; }); }), "region",
        "view");
  }
}

TEST(TableValidator, RefusesATensorBeyondItsRegion) {
  for (const uint64_t offset : {uint64_t{1}, uint64_t{16}, uint64_t{1} << 63, ~uint64_t{0}}) {
    ExpectMalformed(
        After([&](auto& t) { t.EditTensor(kView, [&](auto& e) { e.offset = offset; }); }),
        "beyond its region", "view");
  }
}

TEST(TableValidator, LetsEmptyTensorsLieAnywhereInTheRegion) {
  for (const uint64_t offset : {0, 10, 48}) {
    EXPECT_TRUE(
        After([&](auto& t) { t.EditTensor(kEmpty, [&](auto& e) { e.offset = offset; }); }).ok())
        << offset;
  }
  ExpectMalformed(After([](auto& t) { t.EditTensor(kEmpty, [](auto& e) { e.offset = 49; }); }),
                  "beyond its region", "empty");
}

TEST(TableValidator, ChecksAlignmentWhenAsked) {
  const auto at = [](DType dtype, uint64_t offset, bool require) {
    TableBuilder builder;
    builder.AddRegion(100);
    AddContiguous(builder, "w", dtype, {8}, offset);
    return Check(builder.Build(), {.require_alignment = require});
  };
  EXPECT_TRUE(at(DType::kF32, 4, true).ok());
  EXPECT_TRUE(at(DType::kF32, 2, false).ok());
  EXPECT_TRUE(at(DType::kF4, 3, true).ok());
  EXPECT_TRUE(at(DType::kU8, 3, true).ok());
  ExpectMalformed(at(DType::kF32, 2, true), "no multiple of 4", "w");
  ExpectMalformed(at(DType::kBF16, 1, true), "no multiple of 2", "w");
  ExpectMalformed(at(DType::kC64, 4, true), "no multiple of 8", "w");
}

// --- order and overlap

TEST(TableValidator, RefusesAnOrderThatIsNoPermutation) {
  ExpectMalformed(After([](auto& t) { t.SetOrder(0, 0); }), "permutation");
  ExpectMalformed(After([](auto& t) { t.SetOrder(4, 5); }), "permutation");
  ExpectMalformed(After([](auto& t) { t.SetOrder(4, 0xffffffff); }), "permutation");
}

TEST(TableValidator, AcceptsAnyOrder) {
  EXPECT_TRUE(After([](auto& t) {
                for (uint32_t i = 0; i < 5; ++i) t.SetOrder(i, 4 - i);
              }).ok());
}

struct Span {
  const char* name;
  uint64_t offset;
  int64_t bytes;
  bool alias;
};

absl::Status CheckSpans(const std::vector<Span>& spans) {
  TableBuilder builder;
  builder.AddRegion(100);
  for (const Span& span : spans) {
    AddContiguous(builder, span.name, DType::kU8, {span.bytes}, span.offset, 0, span.alias);
  }
  return Check(builder.Build());
}

TEST(TableValidator, RefusesTwoTensorsThatOverlap) {
  EXPECT_TRUE(CheckSpans({{"a", 0, 10, false}, {"b", 10, 10, false}}).ok());
  ExpectMalformed(CheckSpans({{"a", 0, 10, false}, {"b", 9, 10, false}}), "overlaps \"a\"", "b");
  ExpectMalformed(CheckSpans({{"b", 9, 10, false}, {"a", 0, 10, false}}), "overlaps \"a\"", "b");
  ExpectMalformed(CheckSpans({{"a", 0, 10, false}, {"b", 0, 10, false}}), "overlaps");
  ExpectMalformed(CheckSpans({{"a", 0, 100, false}, {"b", 50, 1, false}, {"c", 60, 1, false}}),
                  "overlaps \"a\"", "b");
}

TEST(TableValidator, SeesAnOverlapBehindAShorterNeighbour) {
  ExpectMalformed(CheckSpans({{"long", 0, 50, true}, {"short", 10, 5, true}, {"x", 40, 5, false}}),
                  "overlaps \"long\"", "x");
  ExpectMalformed(CheckSpans({{"long", 0, 50, false}, {"x", 60, 5, true}, {"y", 40, 5, true}}),
                  "overlaps \"long\"", "y");
}

TEST(TableValidator, LetsAliasesOverlapEachOtherOnly) {
  EXPECT_TRUE(CheckSpans({{"a", 0, 10, true}, {"b", 0, 10, true}}).ok());
  EXPECT_TRUE(CheckSpans({{"a", 0, 10, true}, {"b", 5, 10, true}, {"c", 15, 1, false}}).ok());
  ExpectMalformed(CheckSpans({{"a", 0, 10, true}, {"b", 5, 10, false}}), "overlaps \"a\"", "b");
  ExpectMalformed(CheckSpans({{"a", 0, 10, false}, {"b", 5, 10, true}}), "overlaps \"a\"", "b");
}

TEST(TableValidator, LetsEmptyTensorsLieWithinOthers) {
  EXPECT_TRUE(CheckSpans({{"a", 0, 10, false}, {"empty", 5, 0, false}, {"b", 10, 5, false}}).ok());
}

TEST(TableValidator, KeepsRegionsApart) {
  TableBuilder builder;
  builder.AddRegion(10);
  builder.AddRegion(10);
  AddContiguous(builder, "a", DType::kU8, {10}, 0, 1);
  AddContiguous(builder, "b", DType::kU8, {10}, 0, 0);
  EXPECT_TRUE(Check(builder.Build()).ok());
}

// --- metadata

TEST(TableValidator, RefusesMetadataThatLiesElsewhere) {
  ExpectMalformed(After([](auto& t) { t.EditMetadata(0, [](auto& m) { m.key_offset -= 1; }); }),
                  "a metadata key");
  ExpectMalformed(After([](auto& t) { t.EditMetadata(1, [](auto& m) { m.key_bytes = ~0u; }); }),
                  "a metadata key");
  ExpectMalformed(After([](auto& t) { t.EditMetadata(0, [](auto& m) { m.value_offset += 1; }); }),
                  "a metadata value");
  ExpectMalformed(After([](auto& t) { t.EditMetadata(1, [](auto& m) { m.value_bytes += 100; }); }),
                  "a metadata value");
}

TEST(TableValidator, RefusesMetadataThatIsNotUtf8) {
  TableBuilder builder;
  builder.AddMetadata("key", "\xc3");
  ExpectMalformed(Check(builder.Build()), "a metadata value is not UTF-8");
  TableBuilder other;
  other.AddMetadata("\xed\xa0\x80", "value");
  ExpectMalformed(Check(other.Build()), "a metadata key is not UTF-8");
}

TEST(TableValidator, RefusesTextThatBelongsToNobody) {
  ExpectMalformed(After([](auto& t) { t.EditMetadata(1, [](auto& m) { m.value_bytes -= 1; }); }),
                  "text that belongs to no tensor");
}

// --- everything at once

TEST(TableValidator, SurvivesEveryFlippedBit) {
  const std::string good = GoodTable();
  size_t refused = 0;
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string table = good;
    table[bit / 8] = static_cast<char>(table[bit / 8] ^ (1 << (bit % 8)));
    const auto view = TableView::Validate(AsBytes(table));
    if (!view.ok()) {
      EXPECT_EQ(GetReason(view.status()), Reason::kCheckpointMalformed);
      ++refused;
      continue;
    }
    for (size_t i = 0; i < view->size(); ++i) {
      const TensorEntry entry = view->entry(i);
      EXPECT_LE(entry.offset + entry.size_bytes, view->region_size(entry.region));
      EXPECT_EQ(view->find(entry.name), i);
    }
  }
  EXPECT_GT(refused, good.size() * 8 / 2) << "most bits matter";
}

}  // namespace
}  // namespace modeld::wire
