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

}  // namespace

std::string_view DTypeName(DType dtype) {
  const Row* row = Find(dtype);
  return row != nullptr ? row->name : std::string_view();
}

std::optional<DType> DTypeFromName(std::string_view name) {
  const Row* row = std::ranges::find(kRows, name, &Row::name);
  if (row == std::end(kRows)) return std::nullopt;
  return row->dtype;
}

uint32_t DTypeBits(DType dtype) {
  const Row* row = Find(dtype);
  return row != nullptr ? row->bits : 0;
}

uint32_t DTypeAlignmentBytes(DType dtype) {
  // A complex number is aligned as a whole, as LibTorch's are.
  return std::max(1u, DTypeBits(dtype) / 8);
}

}  // namespace modeld::wire
