// Element types of tensors.

#pragma once

#include <cstdint>
#include <string_view>

#include "modeld/export.h"

namespace modeld {

// Spelled and sized as safetensors does, where it has them. Values are stable across releases.
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
};

// `F32`, `BF16`, `F8_E4M3`, ...; empty for a value that is none of the enumerators.
MODELD_EXPORT std::string_view DTypeName(DType dtype);

}  // namespace modeld
