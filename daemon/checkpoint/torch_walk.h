// The tensors of a pickle by name: dicts, lists and objects flattened, names joined with `.`.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "checkpoint/pickle_reader.h"
#include "checkpoint/torch_tensors.h"

namespace modeld::checkpoint {

// Values can contain themselves, and each other many times: both are bounded.
inline constexpr int kMaxTorchDepth = 128;
inline constexpr size_t kMaxTorchVisits = 16'000'000;

// Externally synchronised. Everything it is given outlives it.
class TorchWalk {
 public:
  using Value = PickleReader::Value;

  TorchWalk(const TorchPickle& source, TorchTensors& tensors)
      : source_(source), pickle_(*source.pickle), tensors_(tensors) {}

  // Adds every tensor in `value` to `found`. `name` is the value's own, and empty for the whole.
  absl::Status Collect(Value value, const std::string& name, size_t most,
                       std::vector<TorchTensor>* found);

  // Is there a tensor in `value`, at whatever depth that Collect would accept?
  bool Holds(Value value);

 private:
  absl::Status Visit(Value value, int depth);
  absl::Status CollectDict(Value value);
  absl::Status CollectItem(Value value, std::string_view part);
  bool HoldsAt(Value value, int depth);
  // What is in an object or in a wrapper, instead of it.
  Value Unwrap(Value value) const;

  const TorchPickle source_;
  const PickleReader& pickle_;
  TorchTensors& tensors_;
  // Of the walk that is going on.
  std::string name_;
  int depth_ = 0;
  size_t visits_ = 0;
  size_t most_ = 0;
  std::vector<TorchTensor>* found_ = nullptr;
};

}  // namespace modeld::checkpoint
