#include "wire/dtype.h"

#include <algorithm>

namespace modeld::wire {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  uint32_t bits;
};

// In the order of the enumerators: row i is value i + 1.
constexpr Row kRows[] = {
    {DType::kBool, "BOOL", 8},
    {DType::kU8, "U8", 8},
    {DType::kI8, "I8", 8},
    {DType::kI16, "I16", 16},
    {DType::kU16, "U16", 16},
    {DType::kF16, "F16", 16},
    {DType::kBF16, "BF16", 16},
    {DType::kI32, "I32", 32},
    {DType::kU32, "U32", 32},
    {DType::kF32, "F32", 32},
    {DType::kI64, "I64", 64},
    {DType::kU64, "U64", 64},
    {DType::kF64, "F64", 64},
    {DType::kC64, "C64", 64},
    {DType::kF8E4M3, "F8_E4M3", 8},
    {DType::kF8E5M2, "F8_E5M2", 8},
    {DType::kF8E8M0, "F8_E8M0", 8},
    {DType::kF8E4M3Fnuz, "F8_E4M3FNUZ", 8},
    {DType::kF8E5M2Fnuz, "F8_E5M2FNUZ", 8},
    {DType::kF4, "F4", 4},
    {DType::kF6E2M3, "F6_E2M3", 6},
    {DType::kF6E3M2, "F6_E3M2", 6},
    {DType::kC32, "C32", 32},
    {DType::kC128, "C128", 128},
};

struct BlockRow {
  DType dtype;
  std::string_view name;
  uint32_t elements;
  uint32_t bytes;
};

// In the order of the enumerators.
constexpr BlockRow kBlockRows[] = {
    {DType::kGgmlQ4_0, "GGML_Q4_0", 32, 18},       {DType::kGgmlQ4_1, "GGML_Q4_1", 32, 20},
    {DType::kGgmlQ5_0, "GGML_Q5_0", 32, 22},       {DType::kGgmlQ5_1, "GGML_Q5_1", 32, 24},
    {DType::kGgmlQ8_0, "GGML_Q8_0", 32, 34},       {DType::kGgmlQ2_K, "GGML_Q2_K", 256, 84},
    {DType::kGgmlQ3_K, "GGML_Q3_K", 256, 110},     {DType::kGgmlQ4_K, "GGML_Q4_K", 256, 144},
    {DType::kGgmlQ5_K, "GGML_Q5_K", 256, 176},     {DType::kGgmlQ6_K, "GGML_Q6_K", 256, 210},
    {DType::kGgmlQ8_K, "GGML_Q8_K", 256, 292},     {DType::kGgmlIQ2_XXS, "GGML_IQ2_XXS", 256, 66},
    {DType::kGgmlIQ2_XS, "GGML_IQ2_XS", 256, 74},  {DType::kGgmlIQ3_XXS, "GGML_IQ3_XXS", 256, 98},
    {DType::kGgmlIQ1_S, "GGML_IQ1_S", 256, 50},    {DType::kGgmlIQ4_NL, "GGML_IQ4_NL", 32, 18},
    {DType::kGgmlIQ3_S, "GGML_IQ3_S", 256, 110},   {DType::kGgmlIQ2_S, "GGML_IQ2_S", 256, 82},
    {DType::kGgmlIQ4_XS, "GGML_IQ4_XS", 256, 136}, {DType::kGgmlIQ1_M, "GGML_IQ1_M", 256, 56},
    {DType::kGgmlTQ1_0, "GGML_TQ1_0", 256, 54},    {DType::kGgmlTQ2_0, "GGML_TQ2_0", 256, 66},
    {DType::kGgmlMXFP4, "GGML_MXFP4", 32, 17},     {DType::kGgmlNVFP4, "GGML_NVFP4", 64, 36},
    {DType::kGgmlQ1_0, "GGML_Q1_0", 128, 18},
};
static_assert(std::ranges::is_sorted(kBlockRows, {}, &BlockRow::dtype));

constexpr uint32_t kBlockAlignmentBytes = 32;

constexpr bool RowsFollowTheEnumerators() {
  for (size_t i = 0; i < std::size(kRows); ++i) {
    if (static_cast<size_t>(kRows[i].dtype) != i + 1) return false;
  }
  return true;
}
static_assert(RowsFollowTheEnumerators());

const Row* Find(DType dtype) {
  const size_t value = static_cast<size_t>(dtype);
  return value >= 1 && value <= std::size(kRows) ? &kRows[value - 1] : nullptr;
}

const BlockRow* FindBlock(DType dtype) {
  if (static_cast<uint16_t>(dtype) < kFirstGgmlDType) return nullptr;
  const BlockRow* row = std::ranges::lower_bound(kBlockRows, dtype, {}, &BlockRow::dtype);
  return row != std::end(kBlockRows) && row->dtype == dtype ? row : nullptr;
}

}  // namespace

std::string_view DTypeName(DType dtype) {
  if (const Row* row = Find(dtype)) return row->name;
  const BlockRow* block = FindBlock(dtype);
  return block != nullptr ? block->name : std::string_view();
}

std::optional<DType> DTypeFromName(std::string_view name) {
  const Row* row = std::ranges::find(kRows, name, &Row::name);
  if (row != std::end(kRows)) return row->dtype;
  const BlockRow* block = std::ranges::find(kBlockRows, name, &BlockRow::name);
  if (block != std::end(kBlockRows)) return block->dtype;
  return std::nullopt;
}

bool IsDType(uint16_t value) { return DTypeBlockOf(static_cast<DType>(value)).elements > 0; }

DTypeBlock DTypeBlockOf(DType dtype) {
  if (const Row* row = Find(dtype)) return {1, row->bits};
  const BlockRow* block = FindBlock(dtype);
  return block != nullptr ? DTypeBlock{block->elements, block->bytes * 8} : DTypeBlock{};
}

uint32_t DTypeBits(DType dtype) {
  const Row* row = Find(dtype);
  return row != nullptr ? row->bits : 0;
}

uint32_t DTypeElementBytes(DType dtype) {
  const uint32_t bits = DTypeBits(dtype);
  return bits % 8 == 0 ? bits / 8 : 0;
}

uint32_t DTypeAlignmentBytes(DType dtype) {
  if (IsBlockDType(dtype)) return kBlockAlignmentBytes;
  // A complex number is aligned as a whole, as LibTorch's are.
  return std::max(1u, DTypeBits(dtype) / 8);
}

}  // namespace modeld::wire
