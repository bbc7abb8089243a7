#include "plan/cast.h"

#include <bit>
#include <cstring>

#include "plan/cast_vectors.h"

namespace modeld::plan {
namespace {

using wire::DType;

// `a` where `which`, else `b`. Masks, because a compiler would make a branch of `?:` and not
// compute the float of the other case, which might trap.
uint32_t Select(bool which, uint32_t a, uint32_t b) {
  const uint32_t mask = -static_cast<uint32_t>(which);
  return (a & mask) | (b & ~mask);
}

// Adding a number of the right size to a float rounds its last bits away, as the processor rounds:
// that makes subnormals. Other magnitudes are rounded by adding to their bits.
uint16_t HalfFromFloat(float value) {
  constexpr uint32_t kInfinity = 0x7f800000;
  constexpr uint32_t kTooLarge = 0x47800000;        // 65536
  constexpr uint32_t kSmallestNormal = 0x38800000;  // of a half
  constexpr uint32_t kSubnormalUnit = 0x3f000000;   // 0.5: its last bit is a half's last bit
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  const float shifted = std::bit_cast<float>(magnitude) + std::bit_cast<float>(kSubnormalUnit);
  const uint32_t subnormal = std::bit_cast<uint32_t>(shifted) - kSubnormalUnit;
  const uint32_t odd = (magnitude >> 13) & 1;
  const uint32_t normal = (magnitude - 0x38000000 + 0xfff + odd) >> 13;
  const uint32_t special = Select(magnitude > kInfinity, 0x7e00, 0x7c00);
  const uint32_t finite = Select(magnitude < kSmallestNormal, subnormal, normal);
  return static_cast<uint16_t>(sign | Select(magnitude >= kTooLarge, special, finite));
}

// Exact. A subnormal half is the last bits of 0.5 less 0.5, any other one a float with its exponent
// moved; the multiplication moves it, and makes NaN quiet.
float FloatFromHalf(uint16_t half) {
  const uint32_t sign = (uint32_t{half} & 0x8000) << 16;
  const uint32_t magnitude = uint32_t{half} & 0x7fff;
  const float normal = std::bit_cast<float>((magnitude << 13) + 0x70000000) * 0x1p-112F;
  const float subnormal = std::bit_cast<float>(magnitude | 0x3f000000) - 0.5F;
  return std::bit_cast<float>(sign | Select(magnitude < 0x400, std::bit_cast<uint32_t>(subnormal),
                                            std::bit_cast<uint32_t>(normal)));
}

uint16_t BFloatFromFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(Select((bits & 0x7fffffff) > 0x7f800000, 0x7fc0, rounded));
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
void Loop(const std::byte* __restrict in, std::byte* __restrict out, size_t count) {
  using In = typename From::Stored;
  using Out = typename To::Stored;
  for (size_t i = 0; i < count; ++i) {
    In stored;
    std::memcpy(&stored, in + i * sizeof(In), sizeof(In));
    const Out cast = To::FromFloat(From::ToFloat(stored));
    std::memcpy(out + i * sizeof(Out), &cast, sizeof(Out));
  }
}

template <class From>
void CastFrom(const Cast& cast, std::span<const std::byte> in, std::byte* out) {
  const size_t count = in.size() / sizeof(typename From::Stored);
  switch (cast.to) {
    case DType::kF32:
      return Loop<From, F32>(in.data(), out, count);
    case DType::kF16:
      return Loop<From, F16>(in.data(), out, count);
    default:
      return Loop<From, BF16>(in.data(), out, count);
  }
}

}  // namespace

bool CanCast(const Cast& cast) {
  const DType from = cast.from;
  const DType to = cast.to;
  const bool source =
      from == DType::kF64 || from == DType::kF32 || from == DType::kF16 || from == DType::kBF16;
  return source && from != to && (to == DType::kF32 || to == DType::kF16 || to == DType::kBF16);
}

void CastElements(const Cast& cast, std::span<const std::byte> in, std::span<std::byte> out) {
  const size_t done = CastVectors(cast, in.data(), out.data(), in.size() / cast.from_bytes());
  CastElementsPortably(cast, in.subspan(done * cast.from_bytes()),
                       out.subspan(done * cast.to_bytes()));
}

void CastElementsPortably(const Cast& cast, std::span<const std::byte> in,
                          std::span<std::byte> out) {
  switch (cast.from) {
    case DType::kF64:
      return CastFrom<F64>(cast, in, out.data());
    case DType::kF32:
      return CastFrom<F32>(cast, in, out.data());
    case DType::kF16:
      return CastFrom<F16>(cast, in, out.data());
    default:
      return CastFrom<BF16>(cast, in, out.data());
  }
}

}  // namespace modeld::plan
