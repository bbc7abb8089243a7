#include "plan/cast.h"

#include <bit>
#include <cstdint>
#include <cstring>

namespace modeld::plan {
namespace {

using wire::DType;

// Rounds the last `shift` bits of `bits` away: to nearest, ties to even. REQUIRES: 0 < shift < 32
uint32_t RoundAway(uint32_t bits, int shift) {
  const uint32_t half = uint32_t{1} << (shift - 1);
  const uint32_t odd = (bits >> shift) & 1;
  return (bits + (half - 1) + odd) >> shift;
}

uint16_t HalfFromFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);   // NaN
  if (magnitude >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);  // 65536 and more
  if (magnitude >= 0x38800000) {                                             // normal in a half
    return static_cast<uint16_t>(sign | RoundAway(magnitude - 0x38000000, 13));
  }
  if (magnitude < 0x33000000) return sign;  // less than half of the smallest
  const uint32_t exponent = magnitude >> 23;
  const uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
  return static_cast<uint16_t>(sign | RoundAway(mantissa, static_cast<int>(126 - exponent)));
}

float FloatFromHalf(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t magnitude = half & 0x7fff;
  if (magnitude >= 0x7c00) {  // infinity, or NaN with its payload
    return std::bit_cast<float>(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
  }
  if (magnitude >= 0x400) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000));
  const float value = static_cast<float>(magnitude) * 0x1p-24F;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

uint16_t BFloatFromFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;  // NaN
  return static_cast<uint16_t>(RoundAway(bits, 16));
}

float FloatFromBFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

struct F64 {
  using Stored = double;
  static float ToFloat(double value) { return static_cast<float>(value); }
};
struct F32 {
  using Stored = float;
  static float ToFloat(float value) { return value; }
  static float FromFloat(float value) { return value; }
};
struct F16 {
  using Stored = uint16_t;
  static float ToFloat(uint16_t value) { return FloatFromHalf(value); }
  static uint16_t FromFloat(float value) { return HalfFromFloat(value); }
};
struct BF16 {
  using Stored = uint16_t;
  static float ToFloat(uint16_t value) { return FloatFromBFloat(value); }
  static uint16_t FromFloat(float value) { return BFloatFromFloat(value); }
};

template <class From, class To>
void Cast(std::span<const std::byte> in, std::span<std::byte> out) {
  using In = typename From::Stored;
  using Out = typename To::Stored;
  const size_t count = in.size() / sizeof(In);
  for (size_t i = 0; i < count; ++i) {
    In stored;
    std::memcpy(&stored, in.data() + i * sizeof(In), sizeof(In));
    const Out cast = To::FromFloat(From::ToFloat(stored));
    std::memcpy(out.data() + i * sizeof(Out), &cast, sizeof(Out));
  }
}

template <class From>
void CastFrom(std::span<const std::byte> in, DType to, std::span<std::byte> out) {
  switch (to) {
    case DType::kF32:
      return Cast<From, F32>(in, out);
    case DType::kF16:
      return Cast<From, F16>(in, out);
    default:
      return Cast<From, BF16>(in, out);
  }
}

}  // namespace

bool CanCast(DType from, DType to) {
  const bool source =
      from == DType::kF64 || from == DType::kF32 || from == DType::kF16 || from == DType::kBF16;
  return source && (to == DType::kF32 || to == DType::kF16 || to == DType::kBF16);
}

void CastElements(DType from, std::span<const std::byte> in, DType to, std::span<std::byte> out) {
  if (from == to) {
    if (!in.empty()) std::memcpy(out.data(), in.data(), in.size());
    return;
  }
  switch (from) {
    case DType::kF64:
      return CastFrom<F64>(in, to, out);
    case DType::kF32:
      return CastFrom<F32>(in, to, out);
    case DType::kF16:
      return CastFrom<F16>(in, to, out);
    default:
      return CastFrom<BF16>(in, to, out);
  }
}

}  // namespace modeld::plan
