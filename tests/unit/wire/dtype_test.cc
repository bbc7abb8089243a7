#include "wire/dtype.h"

#include <gtest/gtest.h>

namespace modeld::wire {
namespace {

TEST(DType, KnowsEveryTypeOfSafetensorsByNameAndSize) {
  const struct {
    std::string_view name;
    DType dtype;
    uint32_t bits;
    uint32_t alignment;
  } expected[] = {
      {"BOOL", DType::kBool, 8, 1},
      {"U8", DType::kU8, 8, 1},
      {"I8", DType::kI8, 8, 1},
      {"I16", DType::kI16, 16, 2},
      {"U16", DType::kU16, 16, 2},
      {"F16", DType::kF16, 16, 2},
      {"BF16", DType::kBF16, 16, 2},
      {"I32", DType::kI32, 32, 4},
      {"U32", DType::kU32, 32, 4},
      {"F32", DType::kF32, 32, 4},
      {"I64", DType::kI64, 64, 8},
      {"U64", DType::kU64, 64, 8},
      {"F64", DType::kF64, 64, 8},
      {"C64", DType::kC64, 64, 8},
      {"F8_E4M3", DType::kF8E4M3, 8, 1},
      {"F8_E5M2", DType::kF8E5M2, 8, 1},
      {"F8_E8M0", DType::kF8E8M0, 8, 1},
      {"F8_E4M3FNUZ", DType::kF8E4M3Fnuz, 8, 1},
      {"F8_E5M2FNUZ", DType::kF8E5M2Fnuz, 8, 1},
      {"F4", DType::kF4, 4, 1},
      {"F6_E2M3", DType::kF6E2M3, 6, 1},
      {"F6_E3M2", DType::kF6E3M2, 6, 1},
      {"C32", DType::kC32, 32, 4},
      {"C128", DType::kC128, 128, 16},
  };
  uint16_t value = 0;
  for (const auto& row : expected) {
    EXPECT_EQ(static_cast<uint16_t>(row.dtype), ++value) << row.name << " must keep its number";
    EXPECT_EQ(DTypeName(row.dtype), row.name);
    EXPECT_EQ(DTypeFromName(row.name), row.dtype);
    EXPECT_EQ(DTypeBits(row.dtype), row.bits) << row.name;
    EXPECT_EQ(DTypeAlignmentBytes(row.dtype), row.alignment) << row.name;
  }
}

// Numbers, elements and bytes of a block as gguf-py 0.19 (GGML_QUANT_SIZES) has them.
TEST(DType, KnowsTheBlocksOfEveryQuantizedTypeOfGgml) {
  const struct {
    std::string_view name;
    uint16_t ggml;
    uint32_t elements;
    uint32_t bytes;
  } expected[] = {
      {"GGML_Q4_0", 2, 32, 18},      {"GGML_Q4_1", 3, 32, 20},      {"GGML_Q5_0", 6, 32, 22},
      {"GGML_Q5_1", 7, 32, 24},      {"GGML_Q8_0", 8, 32, 34},      {"GGML_Q2_K", 10, 256, 84},
      {"GGML_Q3_K", 11, 256, 110},   {"GGML_Q4_K", 12, 256, 144},   {"GGML_Q5_K", 13, 256, 176},
      {"GGML_Q6_K", 14, 256, 210},   {"GGML_Q8_K", 15, 256, 292},   {"GGML_IQ2_XXS", 16, 256, 66},
      {"GGML_IQ2_XS", 17, 256, 74},  {"GGML_IQ3_XXS", 18, 256, 98}, {"GGML_IQ1_S", 19, 256, 50},
      {"GGML_IQ4_NL", 20, 32, 18},   {"GGML_IQ3_S", 21, 256, 110},  {"GGML_IQ2_S", 22, 256, 82},
      {"GGML_IQ4_XS", 23, 256, 136}, {"GGML_IQ1_M", 29, 256, 56},   {"GGML_TQ1_0", 34, 256, 54},
      {"GGML_TQ2_0", 35, 256, 66},   {"GGML_MXFP4", 39, 32, 17},    {"GGML_NVFP4", 40, 64, 36},
      {"GGML_Q1_0", 41, 128, 18},
  };
  for (const auto& row : expected) {
    const auto dtype = static_cast<DType>(kFirstGgmlDType + row.ggml);
    EXPECT_EQ(DTypeName(dtype), row.name);
    EXPECT_EQ(DTypeFromName(row.name), dtype);
    EXPECT_EQ(DTypeBlockOf(dtype), (DTypeBlock{row.elements, row.bytes * 8})) << row.name;
    EXPECT_TRUE(IsBlockDType(dtype)) << row.name;
    EXPECT_EQ(DTypeBits(dtype), 0u) << row.name;
    EXPECT_EQ(DTypeElementBytes(dtype), 0u) << row.name;
    EXPECT_EQ(DTypeAlignmentBytes(dtype), 32u) << row.name;
  }
}

TEST(DType, SaysWhichElementsHaveBytesOfTheirOwn) {
  EXPECT_EQ(DTypeElementBytes(DType::kBF16), 2u);
  EXPECT_EQ(DTypeElementBytes(DType::kC64), 8u);
  EXPECT_EQ(DTypeElementBytes(DType::kF4), 0u);
  EXPECT_EQ(DTypeElementBytes(DType::kF6E2M3), 0u);
  EXPECT_EQ(DTypeBlockOf(DType::kF6E2M3), (DTypeBlock{1, 6}));
  EXPECT_FALSE(IsBlockDType(DType::kF4));
}

TEST(DType, RefusesWhatItDoesNotKnow) {
  // 64 + 0 is ggml's F32, which is the plain one; 73 is Q8_1, which no file has.
  for (const uint16_t value : {0, 25, 63, 64, 73, 106, 65535}) {
    EXPECT_FALSE(IsDType(value)) << value;
    EXPECT_EQ(DTypeName(static_cast<DType>(value)), "");
    EXPECT_EQ(DTypeBits(static_cast<DType>(value)), 0u);
    EXPECT_EQ(DTypeAlignmentBytes(static_cast<DType>(value)), 1u);
  }
  for (const std::string_view name : {"", "f32", "F32 ", "F128", "FLOAT", "GGML_Q8_1", "Q4_0"}) {
    EXPECT_EQ(DTypeFromName(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace modeld::wire
