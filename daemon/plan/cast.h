// Floating-point elements from one type to another: F64, F32, F16 and BF16 to F32, F16 and BF16.
//
// Bit for bit what PyTorch 1.13 answers on a CPU (tests/unit/torch compares them): rounded to
// nearest, ties to even; F64 goes to F16 and BF16 by way of F32, so it is rounded twice; infinities
// where the value is too large; subnormals kept. A NaN becomes the quiet one (0x7e00 with its sign
// in F16, 0x7fc0 in BF16; PyTorch itself answers 0x7fc0 or 0xffff for a BF16, as the processor has
// it); from F16 and F64 to F32 it keeps its sign and payload and becomes quiet, from BF16 to F32 it
// stays as it is.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "wire/dtype.h"

namespace modeld::plan {

// From one type to another.
struct Cast {
  wire::DType from;
  wire::DType to;

  // REQUIRES: CanCast(*this)
  uint64_t from_bytes() const { return wire::DTypeBits(from) / 8; }  // of an element
  uint64_t to_bytes() const { return wire::DTypeBits(to) / 8; }

  bool operator==(const Cast&) const = default;
};

// Is it a cast, to another type, that CastElements does?
bool CanCast(const Cast& cast);

// Casts each element. Neither span needs to be aligned. Thread-safe.
// REQUIRES: CanCast(cast); `in` holds whole elements, `out` as many; they do not overlap
void CastElements(const Cast& cast, std::span<const std::byte> in, std::span<std::byte> out);

// The same without the instructions that not every processor has: what the others are held against.
void CastElementsPortably(const Cast& cast, std::span<const std::byte> in,
                          std::span<std::byte> out);

}  // namespace modeld::plan
