// Byte arithmetic that cannot wrap: sizes and offsets that come from files and peers go through
// here.

#pragma once

#include <cstdint>
#include <optional>

namespace modeld::wire {

inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// The smallest multiple of `alignment` (a power of two) that is >= value.
inline std::optional<uint64_t> CheckedAlignUp(uint64_t value, uint64_t alignment) {
  const auto raised = CheckedAdd(value, alignment - 1);
  if (!raised) return std::nullopt;
  return *raised & ~(alignment - 1);
}

inline uint64_t AlignDown(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }

// Does [offset, offset + size) lie within [0, limit)? Empty ranges at the limit do.
inline bool RangeFits(uint64_t offset, uint64_t size, uint64_t limit) {
  return size <= limit && offset <= limit - size;
}

}  // namespace modeld::wire
