#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <memory>
#include <vector>

#include "fake_model.h"
#include "modeld/torch.h"

namespace modeld {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<FakeModel> Matrix() {
  auto model = std::make_shared<FakeModel>();
  model->Add<float>("w", DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  return model;
}

TEST(AsTensor, IsTheResidentMemoryItself) {
  const auto model = Matrix();
  const at::Tensor w = AsTensor(model, "w");
  EXPECT_EQ(w.data_ptr(), model->at("w").data);
  EXPECT_EQ(w.sizes(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(w.strides(), (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(w.scalar_type(), at::kFloat);
  EXPECT_FALSE(w.requires_grad());
  EXPECT_EQ(w.sum().item<float>(), 21);
}

TEST(AsTensor, HoldsTheModelAsLongAsAnyViewOfItLives) {
  std::weak_ptr<FakeModel> watch;
  at::Tensor row;
  {
    auto model = Matrix();
    watch = model;
    at::Tensor w = AsTensor(std::move(model), "w");
    row = w.t().slice(/*dim=*/0, 1, 2);
  }
  ASSERT_FALSE(watch.expired());
  EXPECT_EQ(row.sum().item<float>(), 7);  // column 1: 2 + 5
  row = at::Tensor();
  EXPECT_TRUE(watch.expired());
}

TEST(AsTensor, HoldsTheModelThroughItsStorageAlone) {
  std::weak_ptr<FakeModel> watch;
  at::Tensor other = at::empty({0});
  {
    auto model = Matrix();
    watch = model;
    const at::Tensor w = AsTensor(std::move(model), "w");
    other.set_(w.storage(), 0, {6}, {1});
  }
  ASSERT_FALSE(watch.expired());
  EXPECT_EQ(other.sum().item<float>(), 21);
  other = at::Tensor();
  EXPECT_TRUE(watch.expired());
}

TEST(AsTensor, LetsGoOfTheModelWhenOnlyACloneIsLeft) {
  std::weak_ptr<FakeModel> watch;
  at::Tensor copy;
  {
    auto model = Matrix();
    watch = model;
    copy = AsTensor(std::move(model), "w").clone();
  }
  EXPECT_TRUE(watch.expired());
  EXPECT_EQ(copy.sum().item<float>(), 21);
}

TEST(AsTensor, KeepsStrides) {
  auto model = std::make_shared<FakeModel>();
  model->AddStrided<float>("t", DType::kF32, {3, 2}, {1, 3}, {1, 2, 3, 4, 5, 6});
  const at::Tensor t = AsTensor(model, "t");
  EXPECT_FALSE(t.is_contiguous());
  EXPECT_EQ(t.data_ptr(), model->at("t").data);
  EXPECT_EQ(t[2][1].item<float>(), 6);
  EXPECT_EQ(t[0][1].item<float>(), 4);
}

TEST(AsTensor, TakesScalarsAndTensorsWithoutElements) {
  auto model = std::make_shared<FakeModel>();
  model->Add<int64_t>("scalar", DType::kI64, {}, {42});
  model->Add<float>("empty", DType::kF32, {0, 7}, {});
  const at::Tensor scalar = AsTensor(model, "scalar");
  EXPECT_EQ(scalar.dim(), 0);
  EXPECT_EQ(scalar.item<int64_t>(), 42);

  std::weak_ptr<FakeModel> watch = model;
  at::Tensor empty = AsTensor(std::move(model), "empty");
  EXPECT_EQ(empty.sizes(), (std::vector<int64_t>{0, 7}));
  EXPECT_EQ(empty.numel(), 0);
  EXPECT_EQ(empty.sum().item<float>(), 0);
}

TEST(AsTensor, LetsGoOfTheModelAfterATensorWithoutElements) {
  auto model = std::make_shared<FakeModel>();
  model->Add<float>("empty", DType::kF32, {0}, {});
  std::weak_ptr<FakeModel> watch = model;
  at::Tensor empty = AsTensor(std::move(model), "empty");
  EXPECT_FALSE(watch.expired());
  empty = at::Tensor();
  EXPECT_TRUE(watch.expired());
}

TEST(AsTensor, KnowsEveryDtypeThatLibTorchHas) {
  const std::vector<std::pair<DType, at::ScalarType>> expected = {
      {DType::kBool, at::kBool},
      {DType::kU8, at::kByte},
      {DType::kI8, at::kChar},
      {DType::kI16, at::kShort},
      {DType::kI32, at::kInt},
      {DType::kI64, at::kLong},
      {DType::kF16, at::kHalf},
      {DType::kBF16, at::kBFloat16},
      {DType::kF32, at::kFloat},
      {DType::kF64, at::kDouble},
      {DType::kC64, at::kComplexFloat},
      {DType::kC32, at::kComplexHalf},
      {DType::kC128, at::kComplexDouble},
  };
  for (const auto& [dtype, scalar_type] : expected) {
    auto model = std::make_shared<FakeModel>();
    model->Add<int64_t>("t", dtype, {1}, {1});
    const at::Tensor t = AsTensor(model, "t");
    EXPECT_EQ(t.scalar_type(), scalar_type) << DTypeName(dtype);
    EXPECT_EQ(t.data_ptr(), model->at("t").data) << DTypeName(dtype);
  }
}

TEST(AsTensor, NamesTheTensorAndTheDtypeThatLibTorchDoesNotHave) {
  auto model = std::make_shared<FakeModel>();
  model->Add<uint8_t>("odd", DType::kF4, {2}, {0x21});
  try {
    AsTensor(model, "odd");
    FAIL() << "F4 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.reason(), "FORMAT_UNSUPPORTED");
    EXPECT_THAT(error.what(), HasSubstr("F4"));
    EXPECT_THAT(error.what(), HasSubstr("odd"));
    EXPECT_EQ(error.metadata().at("tensor"), "odd");
  }
}

TEST(AsTensor, SaysThatQuantizedBlocksAreToBeReadAsBytes) {
  auto model = std::make_shared<FakeModel>();
  model->Add<uint8_t>("blk.0.weight", DType::kGgmlQ4_0, {32}, std::vector<uint8_t>(18));
  try {
    AsTensor(model, "blk.0.weight");
    FAIL() << "GGML_Q4_0 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "FORMAT_UNSUPPORTED");
    EXPECT_THAT(error.what(), HasSubstr("GGML_Q4_0"));
    EXPECT_THAT(error.what(), HasSubstr("quantized in blocks"));
  }
}

TEST(AsTensor, PassesOnThatThereIsNoSuchTensor) {
  try {
    AsTensor(Matrix(), "v");
    FAIL() << "a tensor that is not there was found";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace modeld
