// Any file that is of no format that modeld knows, as it is: an ONNX graph, an engine plan, a
// tokenizer. So no kind of model is excluded from being shared.

#pragma once

#include "checkpoint/format.h"

namespace modeld::checkpoint {

// Asked last. Says yes to everything but what claims to be a format of PyTorch's, by its ending: if
// none that reads those did, the file is to be refused.
class BlobFormat final : public Format {
 public:
  const char* name() const override { return "blob"; }
  bool Sniff(const InputFile& file, std::span<const std::byte> start) const override;
  // One tensor for each file: U8, one dimension, called as the file is. Malformed where it is a
  // file that people have by mistake.
  absl::Status Parse(std::span<const InputFile> files, const std::string& key_prefix,
                     Collector& out) const override;
};

}  // namespace modeld::checkpoint
