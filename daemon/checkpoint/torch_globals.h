// The names that pickles of PyTorch may use, and what they stand for. Nothing else may be named.
//
// Source: the globals that torch.load(weights_only=True) allows
// (https://github.com/pytorch/pytorch/blob/main/torch/_weights_only_unpickler.py), less those whose
// tensors have no plain layout.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/pickle_reader.h"
#include "wire/dtype.h"

namespace modeld::checkpoint {

// What PickleGlobal::id says, besides dtypes and storages.
enum class TorchGlobal : uint32_t {
  kDict,
  kRebuildTensor,              // storage, offset, size, stride
  kRebuildTensorV2,            // ..., requires_grad, hooks[, metadata]
  kRebuildTensorV3,            // ..., requires_grad, hooks, dtype[, metadata]
  kRebuildParameter,           // tensor, requires_grad, hooks
  kRebuildParameterWithState,  // ..., state
  kRebuildFromType,            // function, class, arguments, state
  kRebuildFromCpuTensor,       // tensor, dtype, device, requires_grad
  kTensorClass,
  kSize,         // of a tuple
  kPlainValue,   // makes something that is no tensor
  kTypedList,    // TorchScript: a list, wrapped
  kTypeTag,      // TorchScript: a value and the name of its type
  kScriptClass,  // TorchScript: a class of the archive's own code
};

struct TorchElement {
  bool storage = false;  // the class of a storage, not a dtype
  bool untyped = false;  // a storage that is counted in bytes
  wire::DType dtype = wire::DType::kU8;
};

// Of a global that names a dtype or a class of storages.
std::optional<TorchElement> ElementOf(const PickleGlobal& global);

// The lists: of torch.save, and of TorchScript archives, which have classes of their own.
std::optional<PickleGlobal> FindTorchGlobal(std::string_view module, std::string_view name);
std::optional<PickleGlobal> FindTorchScriptGlobal(std::string_view module, std::string_view name);

// Why a global that is on no list is refused, in words that follow its name: `, which makes a
// sparse tensor: ...`.
std::string WhyRefused(std::string_view global);

}  // namespace modeld::checkpoint
