// Casts with the vector instructions of x86-64 processors that have AVX2 and F16C.

#pragma once

#include <cstddef>

#include "plan/cast.h"

namespace modeld::plan {

// Casts as many of `count` elements as fill whole vectors, the first ones, and returns how many
// these are: none where the processor has no such instructions. The same results as
// CastElementsPortably. Thread-safe. REQUIRES: as CastElements
size_t CastVectors(const Cast& cast, const std::byte* in, std::byte* out, size_t count);

}  // namespace modeld::plan
