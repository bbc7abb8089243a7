// Floating-point elements from one type to another: F64, F32, F16 and BF16 to F32, F16 and BF16.

#pragma once

#include <cstddef>
#include <span>

#include "wire/dtype.h"

namespace modeld::plan {

// Can elements be cast so?
bool CanCast(wire::DType from, wire::DType to);

// Casts each element, rounded to nearest, ties to even; infinities where the value is too large,
// subnormals kept, NaN to NaN (as PyTorch does it: quiet). Neither span needs to be aligned.
// REQUIRES: CanCast(from, to) or from == to; `in` holds whole elements, `out` as many; they do not
// overlap
void CastElements(wire::DType from, std::span<const std::byte> in, wire::DType to,
                  std::span<std::byte> out);

}  // namespace modeld::plan
