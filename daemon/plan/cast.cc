#include "plan/cast.h"

#include <bit>
#include <cstring>

#if defined(__x86_64__)
#define MODELD_CAST_AVX2 1
#endif

namespace modeld::plan {
namespace {

using wire::DType;

// What is below runs once per element and is compiled twice: nothing of it may be a call, or a
// branch, so that the compiler turns the loops into vector instructions.
#define MODELD_CAST_INLINE [[gnu::always_inline]] inline

// `a` where `which`, else `b`. Masks, because a compiler would make a branch of `?:` and not
// compute the float of the other case, which might trap.
MODELD_CAST_INLINE uint32_t Select(bool which, uint32_t a, uint32_t b) {
  const uint32_t mask = -static_cast<uint32_t>(which);
  return (a & mask) | (b & ~mask);
}

// Adding a number of the right size to a float rounds its last bits away, as the processor rounds:
// that makes subnormals. Other magnitudes are rounded by adding to their bits.
MODELD_CAST_INLINE uint16_t HalfFromFloat(float value) {
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
MODELD_CAST_INLINE float FloatFromHalf(uint16_t half) {
  const uint32_t sign = (uint32_t{half} & 0x8000) << 16;
  const uint32_t magnitude = uint32_t{half} & 0x7fff;
  const float normal = std::bit_cast<float>((magnitude << 13) + 0x70000000) * 0x1p-112F;
  const float subnormal = std::bit_cast<float>(magnitude | 0x3f000000) - 0.5F;
  return std::bit_cast<float>(sign | Select(magnitude < 0x400, std::bit_cast<uint32_t>(subnormal),
                                            std::bit_cast<uint32_t>(normal)));
}

MODELD_CAST_INLINE uint16_t BFloatFromFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(Select((bits & 0x7fffffff) > 0x7f800000, 0x7fc0, rounded));
}

MODELD_CAST_INLINE float FloatFromBFloat(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

struct F64 {
  using Stored = double;
  MODELD_CAST_INLINE static float ToFloat(double value) { return static_cast<float>(value); }
};
struct F32 {
  using Stored = float;
  MODELD_CAST_INLINE static float ToFloat(float value) { return value; }
  MODELD_CAST_INLINE static float FromFloat(float value) { return value; }
};
struct F16 {
  using Stored = uint16_t;
  MODELD_CAST_INLINE static float ToFloat(uint16_t value) { return FloatFromHalf(value); }
  MODELD_CAST_INLINE static uint16_t FromFloat(float value) { return HalfFromFloat(value); }
};
struct BF16 {
  using Stored = uint16_t;
  MODELD_CAST_INLINE static float ToFloat(uint16_t value) { return FloatFromBFloat(value); }
  MODELD_CAST_INLINE static uint16_t FromFloat(float value) { return BFloatFromFloat(value); }
};

template <class From, class To>
MODELD_CAST_INLINE void Loop(const std::byte* __restrict in, std::byte* __restrict out,
                             size_t count) {
  using In = typename From::Stored;
  using Out = typename To::Stored;
  for (size_t i = 0; i < count; ++i) {
    In stored;
    std::memcpy(&stored, in + i * sizeof(In), sizeof(In));
    const Out cast = To::FromFloat(From::ToFloat(stored));
    std::memcpy(out + i * sizeof(Out), &cast, sizeof(Out));
  }
}

using Function = void (*)(const std::byte* in, std::byte* out, size_t count);

struct Portable {
  template <class From, class To>
  static void Run(const std::byte* in, std::byte* out, size_t count) {
    Loop<From, To>(in, out, count);
  }
};

#if defined(MODELD_CAST_AVX2)
struct Avx2 {
  template <class From, class To>
  [[gnu::target("avx2")]] static void Run(const std::byte* in, std::byte* out, size_t count) {
    Loop<From, To>(in, out, count);
  }
};
#endif

template <class Level, class From>
Function ChooseTo(DType to) {
  switch (to) {
    case DType::kF32:
      return Level::template Run<From, F32>;
    case DType::kF16:
      return Level::template Run<From, F16>;
    default:
      return Level::template Run<From, BF16>;
  }
}

template <class Level>
Function Choose(const Cast& cast) {
  switch (cast.from) {
    case DType::kF64:
      return ChooseTo<Level, F64>(cast.to);
    case DType::kF32:
      return ChooseTo<Level, F32>(cast.to);
    case DType::kF16:
      return ChooseTo<Level, F16>(cast.to);
    default:
      return ChooseTo<Level, BF16>(cast.to);
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
#if defined(MODELD_CAST_AVX2)
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) return Choose<Avx2>(cast)(in.data(), out.data(), in.size() / cast.from_bytes());
#endif
  CastElementsPortably(cast, in, out);
}

void CastElementsPortably(const Cast& cast, std::span<const std::byte> in,
                          std::span<std::byte> out) {
  Choose<Portable>(cast)(in.data(), out.data(), in.size() / cast.from_bytes());
}

}  // namespace modeld::plan
