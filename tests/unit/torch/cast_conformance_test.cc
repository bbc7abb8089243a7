// Casts while loading against PyTorch's own.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "plan/cast.h"

namespace modeld::plan {
namespace {

using wire::DType;

at::ScalarType TorchType(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return at::kDouble;
    case DType::kF32:
      return at::kFloat;
    case DType::kF16:
      return at::kHalf;
    default:
      return at::kBFloat16;
  }
}

// PyTorch 1.13 has two NaNs to make of a BF16: 0x7fc0, and 0xffff where it uses AVX2. Nothing but a
// NaN becomes either.
uint32_t WithOneNan(DType type, uint32_t bits) {
  return type == DType::kBF16 && bits == 0xffff ? 0x7fc0 : bits;
}

// `in` holds elements of `from`.
void ExpectAsTorch(DType from, DType to, std::vector<std::byte>& in) {
  const Cast cast = {from, to};
  ASSERT_TRUE(CanCast(cast));
  const size_t count = in.size() / cast.from_bytes();
  std::vector<std::byte> ours(count * cast.to_bytes());
  CastElements(cast, in, ours);
  const at::Tensor theirs =
      at::from_blob(in.data(), {static_cast<int64_t>(count)}, TorchType(from)).to(TorchType(to));
  ASSERT_EQ(theirs.nbytes(), ours.size());
  const auto* their_bytes = static_cast<const std::byte*>(theirs.data_ptr());
  for (size_t i = 0; i < count; ++i) {
    uint32_t our = 0;
    uint32_t their = 0;
    uint64_t element = 0;
    std::memcpy(&our, &ours[i * cast.to_bytes()], cast.to_bytes());
    std::memcpy(&their, their_bytes + i * cast.to_bytes(), cast.to_bytes());
    std::memcpy(&element, &in[i * cast.from_bytes()], cast.from_bytes());
    ASSERT_EQ(our, WithOneNan(to, their))
        << wire::DTypeName(from) << " 0x" << std::hex << element << " to " << wire::DTypeName(to);
  }
}

template <class T>
std::vector<std::byte> Bytes(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> All16Bits() {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  return Bytes(all);
}

// Every sign, exponent and first mantissa bits, behind them what decides how they are rounded; and
// any bits at all.
std::vector<uint32_t> Floats() {
  std::vector<uint32_t> floats;
  for (uint32_t high = 0; high < 1 << 16; ++high) {
    for (const uint32_t low : {0x0000, 0x0001, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x2fff,
                               0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0xefff, 0xf000, 0xffff}) {
      floats.push_back(high << 16 | low);
    }
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 1 << 20; ++i) floats.push_back(static_cast<uint32_t>(random()));
  return floats;
}

TEST(CastConformance, EveryF16AsPyTorchDoesIt) {
  auto all = All16Bits();
  ExpectAsTorch(DType::kF16, DType::kF32, all);
  ExpectAsTorch(DType::kF16, DType::kBF16, all);
}

TEST(CastConformance, EveryBF16AsPyTorchDoesIt) {
  auto all = All16Bits();
  ExpectAsTorch(DType::kBF16, DType::kF32, all);
  ExpectAsTorch(DType::kBF16, DType::kF16, all);
}

TEST(CastConformance, F32AsPyTorchDoesIt) {
  auto floats = Bytes(Floats());
  ExpectAsTorch(DType::kF32, DType::kF16, floats);
  ExpectAsTorch(DType::kF32, DType::kBF16, floats);
}

// The floats, their neighbours as doubles (which are rounded twice on their way to 16 bits), what
// no float holds, and any bits at all.
TEST(CastConformance, F64AsPyTorchDoesIt) {
  std::vector<uint64_t> doubles;
  for (const uint32_t bits : Floats()) {
    const auto exact = std::bit_cast<uint64_t>(static_cast<double>(std::bit_cast<float>(bits)));
    doubles.insert(doubles.end(), {exact, exact + 1, exact - 1, exact + 0x10000000});
  }
  std::mt19937_64 random(2);
  for (int i = 0; i < 1 << 20; ++i) doubles.push_back(random());
  for (const uint64_t exponent : {0x7ff0, 0xfff0}) {
    for (int i = 0; i < 1000; ++i) doubles.push_back(exponent << 48 | random() >> 12);
    doubles.push_back(exponent << 48);
    doubles.push_back(exponent << 48 | 1);
  }
  auto bytes = Bytes(doubles);
  for (const DType to : {DType::kF32, DType::kF16, DType::kBF16}) {
    ExpectAsTorch(DType::kF64, to, bytes);
  }
}

}  // namespace
}  // namespace modeld::plan
