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

TEST(DType, RefusesWhatItDoesNotKnow) {
  for (const int value : {0, 25, 65535}) {
    EXPECT_EQ(DTypeName(static_cast<DType>(value)), "");
    EXPECT_EQ(DTypeBits(static_cast<DType>(value)), 0u);
    EXPECT_EQ(DTypeAlignmentBytes(static_cast<DType>(value)), 1u);
  }
  for (const std::string_view name : {"", "f32", "F32 ", "F128", "FLOAT"}) {
    EXPECT_EQ(DTypeFromName(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace modeld::wire
