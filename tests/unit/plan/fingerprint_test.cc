#include "plan/fingerprint.h"

#include <gtest/gtest.h>

namespace modeld::plan {
namespace {

struct Table {
  std::string bytes;
  wire::TableView view;

  Table(const std::string& name, wire::DType dtype, std::vector<int64_t> shape,
        uint64_t offset = 0) {
    wire::TableBuilder builder;
    builder.AddRegion(1 << 20);
    const auto strides = wire::ContiguousStrides(shape);
    builder.Add({.name = name,
                 .dtype = dtype,
                 .shape = shape,
                 .strides = strides,
                 .offset = offset,
                 .size_bytes = *wire::ContiguousBytes(dtype, shape)});
    bytes = builder.Build();
    view = wire::TableView::Validate(std::as_bytes(std::span(bytes))).value();
  }
};

Sample SampleOf(unsigned char value) {
  Sample sample;
  sample.fill(std::byte{value});
  return sample;
}

TEST(Fingerprint, TellsNamesTypesAndShapesApartAndNoPlaces) {
  const auto of = [](const Table& table) { return FingerprintOf(table.view, {}); };
  const Table base("w", wire::DType::kF32, {2, 3});
  EXPECT_TRUE(MayBeEqual(of(base), of(Table("w", wire::DType::kF32, {2, 3}, 512))));
  EXPECT_FALSE(MayBeEqual(of(base), of(Table("v", wire::DType::kF32, {2, 3}))));
  EXPECT_FALSE(MayBeEqual(of(base), of(Table("w", wire::DType::kI32, {2, 3}))));
  EXPECT_FALSE(MayBeEqual(of(base), of(Table("w", wire::DType::kF32, {3, 2}))));
  EXPECT_FALSE(MayBeEqual(of(base), of(Table("w", wire::DType::kF32, {6}))));
}

TEST(Fingerprint, SamplesTellContentsApartWhereBothLooked) {
  const Table table("w", wire::DType::kF32, {2, 3});
  const auto with = [&](unsigned char value) {
    return FingerprintOf(table.view, {SampleOf(value)});
  };
  EXPECT_TRUE(MayBeEqual(with(1), with(1)));
  EXPECT_FALSE(MayBeEqual(with(1), with(2)));
  EXPECT_TRUE(MayBeEqual(with(1), with(0)));
  EXPECT_TRUE(MayBeEqual(with(1), FingerprintOf(table.view, {})));
}

}  // namespace
}  // namespace modeld::plan
