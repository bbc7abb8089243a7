// `model.safetensors.index.json`: which of a checkpoint's files has which tensor, as transformers
// and diffusers write it when they split one.
//
//   {"metadata": {"total_size": 123}, "weight_map": {"a.weight":
//   "model-00001-of-00002.safetensors"}}

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "checkpoint/format.h"
#include "checkpoint/json_reader.h"

namespace modeld::checkpoint {

// Holds an index against the files that are there. Externally synchronised.
//
// Every tensor that it names must be in the file that it names. Tensors that it does not name are
// left alone: transformers loads them with their file, too.
class ShardIndex {
 public:
  // The companion that is the index of these weights: `DIR/STEM.EXT.index.json` for weights
  // `DIR/....EXT`, the one whose STEM begins the weights' names where there are several. nullptr:
  // none is.
  static const InputFile* Find(std::span<const InputFile> weights,
                               std::span<const InputFile> companions);

  // `file` and `weights` outlive the object.
  ShardIndex(const InputFile& file, std::span<const InputFile> weights)
      : file_(file), weights_(weights) {}

  // Once. Malformed; kCheckpointNotFound for a file that it names and that is not there; what
  // reading it says. REQUIRES: it is no larger than kMaxSmallFileBytes.
  absl::Status Read();
  // A tensor, as stored, was found in `weights[file]`.
  void Found(std::string_view tensor, uint32_t file);
  // When all were found: malformed, naming the first tensor that is not where it should be.
  absl::Status Check() const;

 private:
  struct Entry {
    std::string_view tensor;
    uint32_t file = 0;
    uint32_t position = 0;  // in the text
    uint32_t found_in = kNowhere;
  };
  static constexpr uint32_t kNowhere = UINT32_MAX;

  bool ReadAll();
  bool ReadMap();
  absl::Status MissingFile() const;
  std::string FileName(uint32_t file) const;

  const InputFile& file_;
  const std::span<const InputFile> weights_;
  std::string text_;
  JsonReader reader_{{}};
  std::string hint_;
  std::optional<std::string> missing_file_;
  std::vector<Entry> entries_;
  absl::flat_hash_map<std::string_view, uint32_t> by_name_;  // positions in entries_
};

}  // namespace modeld::checkpoint
