// Element types of tensors, as safetensors spells them, and ggml's types of quantized blocks.
//
// Sources: https://github.com/huggingface/safetensors (enum Dtype in safetensors/src/tensor.rs) and
// https://github.com/ggml-org/llama.cpp (enum ggml_type in ggml/include/ggml.h, GGML_QUANT_SIZES in
// gguf-py/gguf/constants.py).

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

  // ggml's quantized types, spelled as ggml does: 64 + ggml's own number. Their elements lie in
  // blocks of a few dozen, each with scales of its own, and mean nothing alone: a block is the
  // smallest thing that is stored. The types that ggml only computes with (Q8_1) are left out.
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

inline constexpr uint16_t kFirstGgmlDType = 64;

// `F32`, `BF16`, `F8_E4M3`, `GGML_Q4_0`, ...; empty for a value that is none of the enumerators.
std::string_view DTypeName(DType dtype);
std::optional<DType> DTypeFromName(std::string_view name);

bool IsDType(uint16_t value);

// How elements lie in memory: `elements` of them in `bits`. One at a time (1 and the bits of one),
// or in blocks of quantized elements. Both 0 for a value that is none of the enumerators.
struct DTypeBlock {
  uint32_t elements = 0;
  uint32_t bits = 0;

  bool operator==(const DTypeBlock&) const = default;
};
DTypeBlock DTypeBlockOf(DType dtype);

// Are elements stored in blocks? The innermost dimension is then a whole number of blocks.
inline bool IsBlockDType(DType dtype) { return DTypeBlockOf(dtype).elements > 1; }

// Bits of one element; 0 where elements come in blocks, and for a value that is none of the
// enumerators.
uint32_t DTypeBits(DType dtype);

// Bytes of one element; 0 where an element has no bytes of its own (types of less than a byte,
// blocks): such tensors are contiguous, whatever else could have strides.
uint32_t DTypeElementBytes(DType dtype);

// Does safetensors have it?
inline bool IsSafetensorsDType(DType dtype) { return dtype <= DType::kF6E3M2; }

// What a tensor's address must be a multiple of, in bytes: an element's size, 1 for types of less
// than a byte, and for blocks the 32 that GGUF files are aligned to by default.
uint32_t DTypeAlignmentBytes(DType dtype);

}  // namespace modeld::wire
