// Element types of tensors.

#pragma once

#include <cstdint>
#include <string_view>

#include "modeld/export.h"

namespace modeld {

// Spelled and sized as safetensors does where it has them, and ggml's quantized types as ggml does
// (64 + ggml's own number). Values are stable across releases.
enum class DType : std::uint16_t {
  kBool = 1,
  kU8 = 2,
  kI8 = 3,
  kI16 = 4,
  kU16 = 5,
  kF16 = 6,
  kBF16 = 7,
  kI32 = 8,
  kU32 = 9,
  kF32 = 10,
  kI64 = 11,
  kU64 = 12,
  kF64 = 13,
  kC64 = 14,
  kF8E4M3 = 15,
  kF8E5M2 = 16,
  kF8E8M0 = 17,
  kF8E4M3Fnuz = 18,
  kF8E5M2Fnuz = 19,
  kF4 = 20,
  kF6E2M3 = 21,
  kF6E3M2 = 22,
  kC32 = 23,   // two F16; not in safetensors
  kC128 = 24,  // two F64; not in safetensors

  kGgmlQ4_0 = 66,
  kGgmlQ4_1 = 67,
  kGgmlQ5_0 = 70,
  kGgmlQ5_1 = 71,
  kGgmlQ8_0 = 72,
  kGgmlQ2_K = 74,
  kGgmlQ3_K = 75,
  kGgmlQ4_K = 76,
  kGgmlQ5_K = 77,
  kGgmlQ6_K = 78,
  kGgmlQ8_K = 79,
  kGgmlIQ2_XXS = 80,
  kGgmlIQ2_XS = 81,
  kGgmlIQ3_XXS = 82,
  kGgmlIQ1_S = 83,
  kGgmlIQ4_NL = 84,
  kGgmlIQ3_S = 85,
  kGgmlIQ2_S = 86,
  kGgmlIQ4_XS = 87,
  kGgmlIQ1_M = 93,
  kGgmlTQ1_0 = 98,
  kGgmlTQ2_0 = 99,
  kGgmlMXFP4 = 103,
  kGgmlNVFP4 = 104,
  kGgmlQ1_0 = 105,
};

// `F32`, `BF16`, `F8_E4M3`, `GGML_Q4_0`, ...; empty for a value that is none of the enumerators.
MODELD_EXPORT std::string_view DTypeName(DType dtype);

// Elements of a dtype that are stored together, and the bytes of them. Quantized types are stored
// in blocks of 32 to 256 elements, and a tensor's innermost dimension is a whole number of blocks;
// of all others one element lies alone (`bytes` is 0 where that is less than a byte). Both 0 for a
// value that is none of the enumerators.
struct DTypeBlock {
  std::uint32_t elements = 0;
  std::uint32_t bytes = 0;
};
MODELD_EXPORT DTypeBlock BlockOf(DType dtype);

}  // namespace modeld
