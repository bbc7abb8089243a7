// Which files of a directory are the weights, and which go with them. Pure: by their names alone.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace modeld::reference {

struct FileChoice {
  std::vector<std::string> weights;     // sorted; may be empty
  std::vector<std::string> companions;  // sorted: configurations, tokenizers and the like
  // It holds `model_index.json`: its weights are those of its subdirectories, each by itself.
  bool pipeline = false;

  bool empty() const { return weights.empty() && companions.empty(); }
  bool operator==(const FileChoice&) const = default;
};

// Is it called as the index of a sharded checkpoint is: `model.safetensors.index.json`?
bool IsShardIndexName(std::string_view name);

// Chooses among `names`, the files of `directory` (its path, for messages). The rules, which
// docs/identity.md tells users:
//
//  1. The first kind of which there are files: .safetensors; .bin .pt .pth .ckpt; .gguf; .onnx;
//     .engine .plan; .tflite. What trainers leave beside the weights (optimizer.pt,
//     training_args.bin, ...) does not count. A pipeline has no weights of its own.
//  2. `model-00001-of-00003.safetensors` and its like are one checkpoint, and all of them must be
//     there. `model.onnx_data` goes with `model.onnx`.
//  3. A variant (`model.fp16.safetensors`) does not count beside the plain one.
//  4. If that leaves several checkpoints, `model`, `diffusion_pytorch_model` or `pytorch_model` is
//     meant, in this order; then the one that has an index; else the reference is ambiguous.
//
// `index` is the shard index that the reference names; its shards are chosen then, whatever else
// is there. kFieldInvalid where the choice is not clear, kCheckpointNotFound where a shard is
// missing, kFormatUnsupported for more than plan::kMaxFiles shards. An empty choice: nothing there
// is of any use.
absl::StatusOr<FileChoice> ChooseFiles(std::span<const std::string> names,
                                       const std::string& directory, std::string_view index = {});

}  // namespace modeld::reference
