#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <memory>
#include <vector>

#include "fake_model.h"
#include "modeld/torch.h"

namespace modeld {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Net : torch::nn::Module {
  Net() {
    register_module("linear", linear);
    register_module("norm", norm);
  }
  torch::Tensor forward(const torch::Tensor& x) { return norm(linear(x)); }

  torch::nn::Linear linear{3, 2};
  torch::nn::BatchNorm1d norm{2};
};

std::shared_ptr<FakeModel> Weights(const std::string& prefix = {}) {
  auto model = std::make_shared<FakeModel>();
  model->Add<float>(prefix + "linear.weight", DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  model->Add<float>(prefix + "linear.bias", DType::kF32, {2}, {7, 8});
  model->Add<float>(prefix + "norm.weight", DType::kF32, {2}, {1, 1});
  model->Add<float>(prefix + "norm.bias", DType::kF32, {2}, {0, 0});
  model->Add<float>(prefix + "norm.running_mean", DType::kF32, {2}, {10, 20});
  model->Add<float>(prefix + "norm.running_var", DType::kF32, {2}, {4, 9});
  model->Add<int64_t>(prefix + "norm.num_batches_tracked", DType::kI64, {}, {5});
  return model;
}

TEST(BindParameters, MakesParametersTheResidentMemory) {
  Net net;
  net.eval();
  const auto model = Weights();
  const BindReport report = BindParameters(net, model);
  EXPECT_TRUE(report.complete());
  EXPECT_THAT(report.bound,
              ElementsAre("linear.bias", "linear.weight", "norm.bias", "norm.weight"));
  EXPECT_EQ(net.linear->weight.data_ptr(), model->at("linear.weight").data);
  EXPECT_EQ(net.linear->bias.data_ptr(), model->at("linear.bias").data);
  EXPECT_EQ(net.norm->weight.data_ptr(), model->at("norm.weight").data);
  for (const torch::Tensor& parameter : net.parameters()) {
    EXPECT_FALSE(parameter.requires_grad());
  }
  const torch::Tensor y = net.forward(torch::ones({1, 3}));
  EXPECT_NEAR(y[0][0].item<float>(), (13.0 - 10.0) / 2.0, 1e-4);
  EXPECT_NEAR(y[0][1].item<float>(), (23.0 - 20.0) / 3.0, 1e-4);
}

TEST(BindParameters, CopiesBuffersSoThatTheModuleMayWriteToThem) {
  Net net;
  net.train();
  const auto model = Weights();
  const BindReport report = BindParameters(net, model);
  EXPECT_THAT(report.copied,
              ElementsAre("norm.num_batches_tracked", "norm.running_mean", "norm.running_var"));
  EXPECT_NE(net.norm->running_mean.data_ptr(), model->at("norm.running_mean").data);
  EXPECT_EQ(net.norm->running_mean[1].item<float>(), 20);

  net.forward(torch::ones({4, 3}));  // updates the running statistics
  EXPECT_NE(net.norm->running_mean[1].item<float>(), 20);
  EXPECT_EQ(static_cast<const float*>(model->at("norm.running_mean").data)[1], 20);
}

TEST(BindParameters, SharesBuffersWhenTold) {
  Net net;
  const auto model = Weights();
  const BindReport report = BindParameters(net, model, {.share_buffers = true});
  EXPECT_THAT(report.copied, IsEmpty());
  EXPECT_EQ(net.norm->running_mean.data_ptr(), model->at("norm.running_mean").data);
}

TEST(BindParameters, HoldsTheModelAsLongAsTheModuleLives) {
  std::weak_ptr<FakeModel> watch;
  auto net = std::make_unique<Net>();
  {
    auto model = Weights();
    watch = model;
    BindParameters(*net, std::move(model));
  }
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(net->linear->weight.sum().item<float>(), 21);
  net.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(BindParameters, FindsNamesUnderAPrefixAndIgnoresTheRest) {
  auto model = Weights("backbone.");
  model->Add<float>("head.weight", DType::kF32, {1}, {1});
  Net net;
  const BindReport report = BindParameters(net, model, {.prefix = "backbone."});
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(net.linear->weight.data_ptr(), model->at("backbone.linear.weight").data);
}

TEST(BindParameters, ReportsWhatIsMissingUnexpectedAndMismatched) {
  auto model = std::make_shared<FakeModel>();
  model->Add<float>("linear.weight", DType::kF32, {3, 2}, {1, 2, 3, 4, 5, 6});  // transposed
  model->Add<int16_t>("linear.bias", DType::kF16, {2}, {0, 0});
  model->Add<float>("norm.weight", DType::kF32, {2}, {1, 1});
  model->Add<uint8_t>("norm.bias", DType::kF6E2M3, {2}, {0, 0});
  model->Add<float>("extra.weight", DType::kF32, {1}, {1});
  Net net;
  const void* before = net.linear->weight.data_ptr();
  const BindReport report = BindParameters(net, model, {.strict = false});
  EXPECT_THAT(report.bound, ElementsAre("norm.weight"));
  EXPECT_THAT(report.missing,
              ElementsAre("norm.num_batches_tracked", "norm.running_mean", "norm.running_var"));
  EXPECT_THAT(report.unexpected, ElementsAre("extra.weight"));
  ASSERT_EQ(report.mismatched.size(), 3u);
  EXPECT_EQ(report.mismatched[0].name, "linear.bias");
  EXPECT_THAT(report.mismatched[0].why, HasSubstr("module has Float [2], checkpoint has Half [2]"));
  EXPECT_EQ(report.mismatched[1].name, "linear.weight");
  EXPECT_THAT(report.mismatched[1].why, HasSubstr("[2, 3], checkpoint has Float [3, 2]"));
  EXPECT_EQ(report.mismatched[2].name, "norm.bias");
  EXPECT_THAT(report.mismatched[2].why, HasSubstr("F6_E2M3"));
  EXPECT_EQ(net.linear->weight.data_ptr(), before);
  EXPECT_TRUE(net.linear->weight.requires_grad());
}

TEST(BindParameters, BindsNothingWhenStrictAndSomethingDoesNotFit) {
  auto model = Weights();
  model->Add<float>("extra", DType::kF32, {1}, {1});
  Net net;
  const void* before = net.linear->weight.data_ptr();
  try {
    BindParameters(net, model);
    FAIL() << "an unexpected tensor was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("1 unknown to the module (extra)"));
  }
  EXPECT_EQ(net.linear->weight.data_ptr(), before);
}

TEST(BindParameters, RefusesAParameterWithoutMemory) {
  struct Bare : torch::nn::Module {
    Bare() { register_parameter("w", torch::empty({2}, torch::kMeta)); }
  } bare;
  auto model = std::make_shared<FakeModel>();
  model->Add<float>("w", DType::kF32, {2}, {1, 2});
  const BindReport report = BindParameters(bare, model, {.strict = false});
  ASSERT_EQ(report.mismatched.size(), 1u);
  EXPECT_THAT(report.mismatched[0].why, HasSubstr("meta"));
}

struct Tied : torch::nn::Module {
  Tied() {
    w = register_parameter("embedding", torch::zeros({2}));
    register_parameter("head", w);
  }
  torch::Tensor w;
};

TEST(BindParameters, NeedsOnlyOneNameOfTiedWeights) {
  for (const char* name : {"embedding", "head"}) {
    auto model = std::make_shared<FakeModel>();
    model->Add<float>(name, DType::kF32, {2}, {1, 2});
    Tied tied;
    const BindReport report = BindParameters(tied, model);
    EXPECT_TRUE(report.complete()) << name;
    EXPECT_THAT(report.bound, ElementsAre(name));
    for (const torch::Tensor& parameter : tied.parameters()) {
      EXPECT_EQ(parameter.data_ptr(), model->at(name).data) << name;
    }
  }
}

torch::jit::Module Script() {
  torch::jit::Module child("child");
  child.register_parameter("weight", torch::zeros({2, 3}), /*is_buffer=*/false);
  child.register_buffer("offset", torch::zeros({2}));
  child.define(R"(
    def forward(self, x):
        return torch.matmul(x, self.weight.t()) + self.offset
  )");
  torch::jit::Module module("net");
  module.register_module("child", child);
  module.define(R"(
    def forward(self, x):
        return self.child.forward(x)
  )");
  return module;
}

TEST(BindParameters, BindsATorchScriptModule) {
  auto model = std::make_shared<FakeModel>();
  model->Add<float>("child.weight", DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  model->Add<float>("child.offset", DType::kF32, {2}, {100, 200});
  torch::jit::Module module = Script();
  const BindReport report = BindParameters(module, model);
  EXPECT_TRUE(report.complete());
  EXPECT_THAT(report.bound, ElementsAre("child.weight"));
  EXPECT_THAT(report.copied, ElementsAre("child.offset"));
  EXPECT_EQ(module.attr("child").toModule().attr("weight").toTensor().data_ptr(),
            model->at("child.weight").data);

  std::weak_ptr<FakeModel> watch = model;
  model.reset();
  const torch::Tensor y = module.forward({torch::ones({1, 3})}).toTensor();
  EXPECT_EQ(y[0][0].item<float>(), 106);
  EXPECT_EQ(y[0][1].item<float>(), 215);
  EXPECT_FALSE(watch.expired());
}

TEST(BindParameters, ReportsWhatATorchScriptModuleMisses) {
  auto model = std::make_shared<FakeModel>();
  model->Add<float>("child.weight", DType::kF32, {2, 2}, {1, 2, 3, 4});
  torch::jit::Module module = Script();
  const BindReport report = BindParameters(module, model, {.strict = false});
  EXPECT_THAT(report.missing, ElementsAre("child.offset"));
  ASSERT_EQ(report.mismatched.size(), 1u);
  EXPECT_EQ(report.mismatched[0].name, "child.weight");
}

}  // namespace
}  // namespace modeld
