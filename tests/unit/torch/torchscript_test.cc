// Modules that LibTorch saves, built again over memory that is resident already.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "checkpoint/format.h"
#include "fake_model.h"
#include "modeld/torch.h"
#include "support/temp_dir.h"
#include "wire/reference_table.h"
#include "wire/unique_fd.h"

namespace modeld {
namespace {

using ::testing::HasSubstr;

// A file as modeld would have it resident: the bytes of each storage in one place, or each tensor
// in a place of its own.
std::shared_ptr<FakeModel> Resident(const std::string& path, bool scattered = false,
                                    const plan::LoadConfig& config = {}) {
  std::ifstream in(path, std::ios::binary);
  const std::string file(std::istreambuf_iterator<char>(in), {});
  const wire::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const checkpoint::InputFile files[] = {
      {.path = path, .name = path, .fd = fd.get(), .size_bytes = file.size()}};
  const auto parsed = checkpoint::ParseCheckpoint(files, {}, config);
  if (!parsed.ok()) throw std::runtime_error(parsed.status().ToString());
  const auto table = wire::TableView::Validate(std::as_bytes(std::span(parsed->table))).value();
  const auto reference =
      wire::ReferenceTable::Validate(std::as_bytes(std::span(parsed->reference_table))).value();
  auto model = std::make_shared<FakeModel>();
  // LibTorch writes storages at multiples of 64.
  auto bytes = std::make_shared<std::vector<std::byte>>(file.size());
  std::memcpy(bytes->data(), file.data(), file.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    const wire::TensorEntry entry = table.entry(i);
    std::shared_ptr<std::vector<std::byte>> memory = bytes;
    std::size_t offset = entry.offset;
    if (scattered) {
      memory = std::make_shared<std::vector<std::byte>>(
          bytes->begin() + static_cast<std::ptrdiff_t>(entry.offset),
          bytes->begin() + static_cast<std::ptrdiff_t>(entry.offset + entry.size_bytes));
      offset = 0;
    }
    model->AddView(std::string(entry.name), static_cast<DType>(entry.dtype),
                   {entry.shape.begin(), entry.shape.end()},
                   {entry.strides.begin(), entry.strides.end()}, memory, offset, entry.size_bytes);
  }
  for (std::size_t i = 0; i < reference.file_count(); ++i) {
    const auto small = reference.file(i);
    model->AddFile(std::string(small.name), {small.bytes.begin(), small.bytes.end()});
  }
  return model;
}

// What another checkpoint of equal weights made resident, with the small files of this one.
std::shared_ptr<FakeModel> Joined(const std::string& resident, const std::string& path) {
  const auto model = Resident(resident);
  const auto own = Resident(path);
  model->ClearFiles();
  for (std::size_t i = 0; i < own->file_count(); ++i) {
    const FileView file = own->file(i);
    model->AddFile(std::string(file.name), {file.bytes.begin(), file.bytes.end()});
  }
  return model;
}

std::string SavedProduct(const test::TempDir& dir, const std::string& name,
                         const at::Tensor& weight) {
  torch::jit::Module module("__torch__.Product", std::make_shared<torch::jit::CompilationUnit>());
  module.register_parameter("weight", weight, false);
  module.define("def forward(self, x):\n  return torch.matmul(x, self.weight)\n");
  std::string path = dir / name;
  module.save(path);
  return path;
}

// A module with a parameter, a child that is tied to it, a buffer, a list, and a constant in its
// code.
std::string SavedModule(const test::TempDir& dir) {
  const auto unit = std::make_shared<torch::jit::CompilationUnit>();
  torch::jit::Module child("__torch__.Child", unit);
  torch::jit::Module module("__torch__.Net", unit);
  const at::Tensor weight = torch::randn({3, 3});
  child.register_parameter("weight", weight, false);
  child.define("def forward(self, x):\n  return torch.matmul(x, self.weight)\n");
  module.register_parameter("weight", weight, false);
  module.register_buffer("offset", torch::randn({3}));
  module.register_attribute("parts", c10::ListType::ofTensors(),
                            c10::List<at::Tensor>({torch::randn({3}), torch::randn({3})}));
  module.register_module("child", child);
  module.define(
      "def forward(self, x):\n"
      "  return self.child.forward(x) + torch.matmul(x, self.weight.t()) + self.offset + "
      "self.parts[1]\n");
  // What tracing makes of a tensor that is no attribute.
  const auto graph = module.get_method("forward").graph();
  torch::jit::WithInsertPoint insert(graph->return_node());
  torch::jit::Value* const constant = graph->insertConstant(torch::full({3}, 7.0f));
  torch::jit::Value* const sum =
      graph->insert(c10::Symbol::aten("add"), {graph->outputs()[0], constant});
  graph->eraseOutput(0);
  graph->registerOutput(sum);
  std::string path = dir / "net.pt";
  module.save(path);
  return path;
}

TEST(LoadTorchScript, ComputesWhatThePrivateLoadComputes) {
  const test::TempDir dir;
  const std::string path = SavedModule(dir);
  torch::jit::Module expected = torch::jit::load(path);
  const at::Tensor x = torch::randn({4, 3});
  for (const bool scattered : {false, true}) {
    const auto model = Resident(path, scattered);
    ASSERT_TRUE(model->find("constants.0"));
    torch::jit::Module module = LoadTorchScript(model);
    EXPECT_TRUE(torch::equal(module.forward({x}).toTensor(), expected.forward({x}).toTensor()));
    EXPECT_EQ(module.is_training(), expected.is_training());
  }
}

TEST(LoadTorchScript, ParametersAreTheResidentMemoryAndBuffersAreCopies) {
  const test::TempDir dir;
  const auto model = Resident(SavedModule(dir));
  torch::jit::Module module = LoadTorchScript(model);
  const at::Tensor weight = module.attr("weight").toTensor();
  EXPECT_EQ(weight.data_ptr(), model->at("weight").data);
  EXPECT_EQ(module.attr("child").toModule().attr("weight").toTensor().data_ptr(),
            weight.data_ptr());
  EXPECT_EQ(module.attr("parts").toTensorVector()[1].data_ptr(), model->at("parts.1").data);
  EXPECT_NE(module.attr("offset").toTensor().data_ptr(), model->at("offset").data);
  EXPECT_EQ(LoadTorchScript(model, {.share_buffers = true}).attr("offset").toTensor().data_ptr(),
            model->at("offset").data);
}

// As where a safetensors file, which has both names' bytes, was resident first.
TEST(LoadTorchScript, TiedParametersThatLieApartAreNotCopied) {
  const test::TempDir dir;
  const auto model = Resident(SavedModule(dir), /*scattered=*/true);
  ASSERT_NE(model->at("weight").data, model->at("child.weight").data);
  torch::jit::Module module = LoadTorchScript(model);
  const void* const weight = module.attr("weight").toTensor().data_ptr();
  EXPECT_TRUE(weight == model->at("weight").data || weight == model->at("child.weight").data);
}

TEST(LoadTorchScript, AWeightThatLiesOtherwiseThanInItsArchiveIsLaidOutAnew) {
  const test::TempDir dir;
  const at::Tensor turned = torch::randn({5, 3}).t();
  const at::Tensor one_row = torch::randn({1, 5}).expand({3, 5});
  const at::Tensor x = torch::randn({4, 3});
  for (const at::Tensor& weight : {turned, one_row}) {
    const std::string strided = SavedProduct(dir, "strided.pt", weight);
    const std::string plain = SavedProduct(dir, "plain.pt", weight.contiguous());
    for (const auto& [resident, path] : {std::pair(strided, plain), std::pair(plain, strided)}) {
      torch::jit::Module module = LoadTorchScript(Joined(resident, path));
      const at::Tensor loaded = module.attr("weight").toTensor();
      EXPECT_TRUE(torch::equal(loaded, weight));
      EXPECT_EQ(loaded.strides(), path == plain ? weight.contiguous().strides() : weight.strides());
      EXPECT_TRUE(torch::equal(module.forward({x}).toTensor(),
                               torch::jit::load(path).forward({x}).toTensor()));
    }
  }
}

TEST(LoadTorchScript, TheModuleHoldsTheModel) {
  const test::TempDir dir;
  auto model = Resident(SavedModule(dir));
  const std::weak_ptr<FakeModel> watch = model;
  auto module = std::make_unique<torch::jit::Module>(LoadTorchScript(std::move(model)));
  const at::Tensor x = torch::ones({1, 3});
  EXPECT_EQ(module->forward({x}).toTensor().numel(), 3);
  EXPECT_FALSE(watch.expired());
  module.reset();
  EXPECT_TRUE(watch.expired());
}

void ExpectRefused(const std::shared_ptr<FakeModel>& model, const char* words) {
  try {
    LoadTorchScript(model);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "FIELD_INVALID");
    EXPECT_THAT(error.what(), HasSubstr(words));
  }
}

TEST(LoadTorchScript, SaysWhatIsMissing) {
  ExpectRefused(std::make_shared<FakeModel>(), "is no TorchScript archive");
  const test::TempDir dir;
  ExpectRefused(Resident(SavedModule(dir), false, {.exclude = {"child.*"}}),
                "left out tensor child.weight");
}

}  // namespace
}  // namespace modeld
