// Element types of tensors, as safetensors spells them.
//
// Source: https://github.com/huggingface/safetensors (enum Dtype in safetensors/src/tensor.rs).

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace modeld::wire {

// The values go over the wire in tensor tables: never renumber, only append.
enum class DType : uint16_t {
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
  kC64 = 14,  // two F32
  kF8E4M3 = 15,
  kF8E5M2 = 16,
  kF8E8M0 = 17,
  kF8E4M3Fnuz = 18,
  kF8E5M2Fnuz = 19,
  kF4 = 20,
  kF6E2M3 = 21,
  kF6E3M2 = 22,
  // Not in safetensors.
  kC32 = 23,   // two F16
  kC128 = 24,  // two F64
};

// `F32`, `BF16`, `F8_E4M3`, ...; empty for a value that is none of the enumerators.
std::string_view DTypeName(DType dtype);
std::optional<DType> DTypeFromName(std::string_view name);

// Bits of one element; 0 for a value that is none of the enumerators.
uint32_t DTypeBits(DType dtype);

// Does safetensors have it?
inline bool IsSafetensorsDType(DType dtype) { return dtype <= DType::kF6E3M2; }

// What an element's address must be a multiple of, in bytes (1 for types of less than a byte).
uint32_t DTypeAlignmentBytes(DType dtype);

}  // namespace modeld::wire
