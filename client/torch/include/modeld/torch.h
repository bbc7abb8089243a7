// Resident weights in LibTorch, without a copy: link modeld::torch.
//
//   auto model = modeld::Client::Connect()->Acquire({.reference = "backbone.safetensors"});
//   at::Tensor w = modeld::AsTensor(model, "encoder.layer.0.weight");
//   modeld::BindParameters(backbone, model);
//
// No LibTorch header is included here: a program includes <torch/torch.h> itself, or as little of
// it as it needs.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "modeld/model.h"

namespace at {
class Tensor;
}
namespace torch::nn {
class Module;
}
namespace torch::jit {
struct Module;
}

namespace modeld {

// The tensor of that name as an at::Tensor over the resident memory: same bytes, same address, same
// strides.
//
// Its storage holds `model`, so the lease lasts as long as this tensor, any view or slice of it, or
// anything else that shares the storage. requires_grad is false. LibTorch has no read-only tensors:
// an in-place operation on it kills the process (SIGSEGV); clone() what has to change.
//
// The tensor of a model on a GPU is on `cuda:N`, N as this process counts. What an in-place
// operation does there: TensorView. When the last tensor of a model goes, its end waits for the
// GPU.
//
// Throws Error: kNotFound when there is no such tensor, kInvalidArgument (FORMAT_UNSUPPORTED) when
// this LibTorch has no such dtype, naming both.
at::Tensor AsTensor(std::shared_ptr<const Model> model, std::string_view name);

struct BindOptions {
  // Prepended to a module's own names: `encoder.` finds `layer.weight` as `encoder.layer.weight`.
  // Only tensors of the checkpoint that begin with it can be unexpected.
  std::string prefix = {};
  // Throw rather than bind a part: then nothing is bound unless everything fits.
  bool strict = true;
  // Share buffers too. A module writes to its buffers (running statistics, caches), so they are
  // copied by default.
  bool share_buffers = false;
};

// Names as the module spells them; those of `unexpected` as the checkpoint does. Sorted.
struct BindReport {
  struct Mismatch {
    std::string name;
    std::string why;  // `module has Float [384], checkpoint has Half [512]`
  };

  std::vector<std::string>
      bound;  // parameters that now are the resident memory, and buffers if share_buffers
  std::vector<std::string> copied;      // buffers that were filled from it
  std::vector<std::string> missing;     // the module has it, the checkpoint does not
  std::vector<std::string> unexpected;  // the checkpoint has it, the module does not
  std::vector<Mismatch>
      mismatched;  // both have it, with another shape, dtype or device; left alone

  bool complete() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
};

// Makes the parameters of `module` and of its children the resident memory, by name. Shape, dtype
// and device must be equal (for a model on a GPU: move the module there first, or build it there);
// each bound parameter gets requires_grad = false and frees the memory it had. Optimizers and views
// made before it keep the old memory: bind first. A parameter registered under several names (tied
// weights) needs only one of them to be in the checkpoint.
//
// With `strict`, throws Error (kInvalidArgument, FIELD_INVALID) that lists what does not fit.
BindReport BindParameters(torch::nn::Module& module, std::shared_ptr<const Model> model,
                          const BindOptions& options = {});

// The same for a TorchScript module. REQUIRES: it has not been frozen or optimized for inference,
// which makes constants of its parameters.
BindReport BindParameters(torch::jit::Module& module, std::shared_ptr<const Model> model,
                          const BindOptions& options = {});

struct TorchScriptOptions {
  // Share buffers too: as in BindOptions.
  bool share_buffers = false;
};

// The module of a TorchScript archive that modeld has resident, as torch::jit::load would give it:
// its code from the reference's small files, its parameters, constants and other tensors the
// resident memory, which it holds for as long as it lives. No weights are read, and none are copied
// but buffers. It is in the mode (training or not) in which it was saved; requires_grad is false.
// It runs whatever code the archive has, as torch::jit::load does: for archives that you trust.
//
// Parts of a storage of which the module holds no tensor over the whole are copied, too, and so are
// tensors that lie in memory with other strides than the module has: a checkpoint of equal weights
// was there first.
//
// Throws Error (kInvalidArgument, FIELD_INVALID) for a model that is no TorchScript archive, or of
// which the load configuration left out or converted a tensor; c10::Error where this LibTorch
// cannot compile the code.
torch::jit::Module LoadTorchScript(std::shared_ptr<const Model> model,
                                   const TorchScriptOptions& options = {});

}  // namespace modeld
