// A worker with LibTorch, for tests: does what its standard input says, one line at a time, and
// answers each line with one. torch_workers.py has the same ids and the same network.
//
//   version               version MAJOR.MINOR      of LibTorch
//   acquire REF [PREFIX]  ok RESIDENCY_ID TENSORS | error REASON
//   tensor NAME           tensor DTYPE SHAPE SHA256      of its elements in row-major order
//   digest                digest [sha256:...]      weights digest, once it is known
//   state                 state HELD | state OTHER
//   release               released
//   script                script BOUND OF ALL      builds the module of what is held: how many of
//                                                  its parameters lie in resident memory
//   bind                  bind BOUND COPIED        binds what is held to a Net
//   private PATH          private                  torch::jit::load
//   output                output SHA256            of the module that was built last
//
// End of input ends it.

#include <modeld/client.h>
#include <modeld/torch.h>
#include <torch/script.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "support.h"

namespace {

struct NetImpl : torch::nn::Module {
  NetImpl() {
    register_module("embed", embed);
    register_module("first", first);
    register_module("norm", norm);
    register_module("head", head);
    eval();
  }
  at::Tensor forward(const at::Tensor& ids) {
    const at::Tensor x = torch::relu(first(embed(ids)));
    return head(norm(x.transpose(1, 2)).transpose(1, 2));
  }

  torch::nn::Embedding embed{512, 64};
  torch::nn::Linear first{64, 64};
  torch::nn::BatchNorm1d norm{64};
  torch::nn::Linear head{torch::nn::LinearOptions(64, 512).bias(false)};
};
TORCH_MODULE(Net);

std::string Digest(const at::Tensor& tensor) {
  const at::Tensor elements = tensor.contiguous();
  example::Sha256 digest;
  digest.Add(elements.data_ptr(), elements.nbytes());
  return digest.Finish().substr(std::string("sha256:").size());
}

// Resident memory is that of some tensor of the model: tied ones are there
// under one of their names.
bool IsResident(const modeld::Model& model, const at::Tensor& tensor) {
  for (std::size_t i = 0; i < model.size(); ++i) {
    if (model[i].data == tensor.data_ptr()) return true;
  }
  return false;
}

class Worker {
 public:
  explicit Worker(std::string endpoint) : endpoint_(std::move(endpoint)) {}

  std::string Do(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    std::string what;
    std::string prefix;
    words >> command >> what >> prefix;
    try {
      if (command == "version") {
        return "version " + std::to_string(TORCH_VERSION_MAJOR) + "." +
               std::to_string(TORCH_VERSION_MINOR);
      }
      if (command == "acquire") return Acquire(what, prefix);
      if (command == "tensor") return DescribeTensor(what);
      if (command == "digest") return "digest " + model_->digest();
      if (command == "state") {
        return model_->state() == modeld::Model::State::kHeld ? "state HELD" : "state OTHER";
      }
      if (command == "release") {
        forward_ = nullptr;
        model_ = nullptr;
        return "released";
      }
      if (command == "script") return Script();
      if (command == "bind") return Bind();
      if (command == "private") {
        Run(torch::jit::load(what));
        return "private";
      }
      if (command == "output") {
        return "output " + Digest(forward_(torch::arange(96).remainder(13).view({4, 24})));
      }
      return "error UNKNOWN_COMMAND";
    } catch (const modeld::Error& error) {
      std::cerr << error.what() << std::endl;
      return "error " + error.reason();
    }
  }

 private:
  std::string Acquire(const std::string& reference, const std::string& prefix) {
    if (client_ == nullptr) client_ = modeld::Client::Connect(endpoint_);
    model_ = client_->Acquire({.reference = reference, .config = {.key_prefix = prefix}});
    return "ok " + model_->residency_id() + " " + std::to_string(model_->size());
  }

  std::string DescribeTensor(const std::string& name) const {
    const at::Tensor tensor = modeld::AsTensor(model_, name);
    std::string shape;
    for (const std::int64_t size : tensor.sizes()) {
      shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    }
    return "tensor " + std::string(modeld::DTypeName(model_->at(name).dtype)) + " [" + shape +
           "] " + Digest(tensor);
  }

  std::string Script() {
    torch::jit::Module module = modeld::LoadTorchScript(model_);
    std::size_t resident = 0;
    std::size_t all = 0;
    for (const at::Tensor& parameter : module.parameters()) {
      resident += IsResident(*model_, parameter) ? 1 : 0;
      ++all;
    }
    Run(module);
    return "script " + std::to_string(resident) + " of " + std::to_string(all);
  }

  std::string Bind() {
    Net net;
    const modeld::BindReport report = modeld::BindParameters(*net, model_);
    forward_ = [net](const at::Tensor& ids) mutable { return net(ids); };
    return "bind " + std::to_string(report.bound.size()) + " " +
           std::to_string(report.copied.size());
  }

  void Run(torch::jit::Module module) {
    forward_ = [module = std::move(module)](const at::Tensor& ids) mutable {
      return module.forward({ids}).toTensor();
    };
  }

  const std::string endpoint_;
  std::shared_ptr<modeld::Client> client_;
  std::shared_ptr<const modeld::Model> model_;
  std::function<at::Tensor(const at::Tensor&)> forward_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: modeld-test-torch-worker ENDPOINT\n";
    return 2;
  }
  at::set_num_threads(1);
  const at::NoGradGuard no_grad;
  Worker worker(argv[1]);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << worker.Do(line) << std::endl;
  }
  return 0;
}
