#include "plan/cast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace modeld::plan {
namespace {

using wire::DType;

constexpr DType kSources[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};
constexpr DType kTargets[] = {DType::kF32, DType::kF16, DType::kBF16};

template <class Out, class In>
std::vector<Out> CastAll(DType from, DType to, const std::vector<In>& in) {
  std::vector<Out> out(in.size());
  CastElements({from, to}, std::as_bytes(std::span(in)), std::as_writable_bytes(std::span(out)));
  return out;
}

template <class Out, class In>
Out CastOne(DType from, DType to, In in) {
  return CastAll<Out>(from, to, std::vector<In>{in}).front();
}

std::vector<uint16_t> AllPatterns() {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  return all;
}

// A format of 16 bits by its definition, in arithmetic that is exact: what the bit tricks are held
// against.
struct Format {
  int exponent_bits;
  int mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }

  double Value(uint16_t bits) const {
    const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    const double sign = (bits & 0x8000) != 0 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? NAN : sign * INFINITY;
    const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
    return sign * std::ldexp(whole, std::max(exponent, 1) - bias() - mantissa_bits);
  }

  // To nearest, ties to even; infinity from half a unit above the largest on.
  double Rounded(double value) const {
    if (value == 0 || !std::isfinite(value)) return value;
    const int unit = std::max(std::ilogb(value), 1 - bias()) - mantissa_bits;
    const double rounded = std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
    return std::fabs(rounded) >= std::ldexp(1, bias() + 1) ? std::copysign(INFINITY, value)
                                                           : rounded;
  }
};

constexpr Format kHalf = {5, 10};
constexpr Format kBFloat = {8, 7};

void ExpectSame(double got, double want, uint64_t of) {
  if (std::isnan(want)) {
    ASSERT_TRUE(std::isnan(got)) << std::hex << of;
    return;
  }
  ASSERT_EQ(got, want) << std::hex << of;
  ASSERT_EQ(std::signbit(got), std::signbit(want)) << std::hex << of;
}

// Every sign, exponent and first mantissa bits, and behind them what decides how they are rounded.
std::vector<float> FloatsThatMatter() {
  std::vector<float> floats;
  for (uint32_t high = 0; high < 1 << 16; ++high) {
    for (const uint32_t low : {0x0000, 0x0001, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x2fff,
                               0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0xefff, 0xf000, 0xffff}) {
      floats.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  return floats;
}

TEST(Cast, EveryF16HasItsF32) {
  const auto all = AllPatterns();
  const auto floats = CastAll<float>(DType::kF16, DType::kF32, all);
  for (const uint16_t bits : all) ExpectSame(floats[bits], kHalf.Value(bits), bits);
}

TEST(Cast, EveryBF16HasItsF32) {
  const auto all = AllPatterns();
  const auto floats = CastAll<float>(DType::kBF16, DType::kF32, all);
  for (const uint16_t bits : all) ExpectSame(floats[bits], kBFloat.Value(bits), bits);
}

TEST(Cast, WhatIsCastToF32ComesBack) {
  const auto all = AllPatterns();
  for (const auto& [type, format] : {std::pair(DType::kF16, kHalf), {DType::kBF16, kBFloat}}) {
    const auto back = CastAll<uint16_t>(DType::kF32, type, CastAll<float>(type, DType::kF32, all));
    for (const uint16_t bits : all) {
      if (std::isnan(format.Value(bits))) continue;
      ASSERT_EQ(back[bits], bits);
    }
  }
}

TEST(Cast, F32IsRoundedToTheNearestTiesToEven) {
  const std::vector<float> floats = FloatsThatMatter();
  for (const auto& [type, format] : {std::pair(DType::kF16, kHalf), {DType::kBF16, kBFloat}}) {
    const auto cast = CastAll<uint16_t>(DType::kF32, type, floats);
    for (size_t i = 0; i < floats.size(); ++i) {
      ExpectSame(format.Value(cast[i]), format.Rounded(floats[i]),
                 std::bit_cast<uint32_t>(floats[i]));
    }
  }
}

TEST(Cast, BetweenF16AndBF16ItIsRoundedOnce) {
  const auto all = AllPatterns();
  const auto to_bfloat = CastAll<uint16_t>(DType::kF16, DType::kBF16, all);
  const auto to_half = CastAll<uint16_t>(DType::kBF16, DType::kF16, all);
  for (const uint16_t bits : all) {
    ExpectSame(kBFloat.Value(to_bfloat[bits]), kBFloat.Rounded(kHalf.Value(bits)), bits);
    ExpectSame(kHalf.Value(to_half[bits]), kHalf.Rounded(kBFloat.Value(bits)), bits);
  }
}

// As PyTorch: 1 + 2^-11 + 2^-40 is nearer to 1 + 2^-10 than to 1, and a tie as a float.
TEST(Cast, F64IsRoundedToF32FirstAndThenToTheTarget) {
  EXPECT_EQ(CastOne<float>(DType::kF64, DType::kF32, 1 + 0x1p-24 + 0x1p-50), 1 + 0x1p-23F);
  EXPECT_EQ(CastOne<uint16_t>(DType::kF64, DType::kF16, 1 + 0x1p-11 + 0x1p-40), 0x3c00);
  EXPECT_EQ(CastOne<uint16_t>(DType::kF64, DType::kF16, 1 + 0x1p-11 + 0x1p-20), 0x3c01);
  EXPECT_EQ(CastOne<uint16_t>(DType::kF64, DType::kBF16, 1 + 0x1p-8 + 0x1p-40), 0x3f80);
  EXPECT_EQ(CastOne<uint16_t>(DType::kF64, DType::kBF16, 1 + 0x1p-8 + 0x1p-20), 0x3f81);
  EXPECT_EQ(CastOne<float>(DType::kF64, DType::kF32, 1e300), INFINITY);
  EXPECT_EQ(CastOne<uint16_t>(DType::kF64, DType::kF16, -1e300), 0xfc00);
  EXPECT_EQ(CastOne<uint16_t>(DType::kF64, DType::kBF16, -0.0), 0x8000);
}

TEST(Cast, NotANumberBecomesQuietAndLosesItsPayloadWhereItIsRounded) {
  const auto from_float = [](uint32_t bits, DType to) {
    return CastOne<uint16_t>(DType::kF32, to, bits);
  };
  EXPECT_EQ(from_float(0x7f800001, DType::kF16), 0x7e00);
  EXPECT_EQ(from_float(0xffabc123, DType::kF16), 0xfe00);
  EXPECT_EQ(from_float(0x7fffffff, DType::kBF16), 0x7fc0);
  EXPECT_EQ(from_float(0xff800001, DType::kBF16), 0x7fc0);
  EXPECT_EQ(CastOne<uint32_t>(DType::kF16, DType::kF32, uint16_t{0xfc01}), 0xffc02000);
  EXPECT_EQ(CastOne<uint32_t>(DType::kBF16, DType::kF32, uint16_t{0xff81}), 0xff810000);
  EXPECT_EQ(CastOne<uint32_t>(DType::kF64, DType::kF32, uint64_t{0xfff0000020000000}), 0xffc00001);
}

// Vector instructions take many elements at once, and the rest one by one.
TEST(Cast, IsTheSameWithAndWithoutVectorInstructionsForEveryLengthAndPlace) {
  std::mt19937_64 random(1);
  std::vector<std::byte> in(8 * 100 + 16);
  for (std::byte& byte : in) byte = static_cast<std::byte>(random());
  for (const DType from : kSources) {
    for (const DType to : kTargets) {
      const Cast cast = {from, to};
      if (!CanCast(cast)) continue;
      for (size_t count = 0; count <= 70; ++count) {
        const size_t at = random() % 16;
        const auto elements = std::span(in).subspan(at, count * cast.from_bytes());
        std::vector<std::byte> fast(count * cast.to_bytes() + at + 1, std::byte{0xab});
        std::vector<std::byte> portable = fast;
        const auto out = [&](std::vector<std::byte>& of) {
          return std::span(of).subspan(at, count * cast.to_bytes());
        };
        CastElements(cast, elements, out(fast));
        CastElementsPortably(cast, elements, out(portable));
        ASSERT_EQ(fast, portable) << wire::DTypeName(from) << " to " << wire::DTypeName(to) << " "
                                  << count;
        ASSERT_EQ(fast.back(), std::byte{0xab}) << "nothing is written behind them";
        // One by one, so that every element has its own place.
        for (size_t i = 0; i < count; ++i) {
          std::byte one[4];
          CastElements(cast, elements.subspan(i * cast.from_bytes(), cast.from_bytes()),
                       std::span(one).first(cast.to_bytes()));
          ASSERT_EQ(std::memcmp(one, out(fast).data() + i * cast.to_bytes(), cast.to_bytes()), 0);
        }
      }
    }
  }
}

TEST(Cast, KnowsWhatItCanDo) {
  EXPECT_TRUE(CanCast({DType::kF64, DType::kBF16}));
  EXPECT_TRUE(CanCast({DType::kBF16, DType::kF16}));
  EXPECT_FALSE(CanCast({DType::kF32, DType::kF32}));
  EXPECT_FALSE(CanCast({DType::kF32, DType::kF64}));
  EXPECT_FALSE(CanCast({DType::kI32, DType::kF32}));
  EXPECT_FALSE(CanCast({DType::kF32, DType::kF8E4M3}));
  EXPECT_FALSE(CanCast({DType::kF4, DType::kF32}));
}

}  // namespace
}  // namespace modeld::plan
