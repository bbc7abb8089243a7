// GGUF: what llama.cpp and ggml read. A magic, a version, metadata, descriptions of tensors, and
// from the next multiple of the alignment on the tensors' bytes.
//
// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and the reference reader,
// ggml/src/gguf.cpp in llama.cpp. What is read, what is refused and where that differs from the
// reference: docs/formats.md.

#pragma once

#include "checkpoint/format.h"

namespace modeld::checkpoint {

// modeld's own limit on what lies before the tensors: vocabularies take some 10 MB of it.
inline constexpr uint64_t kMaxGgufHeaderBytes = 100'000'000;

// The small file that holds what lies before the tensors, byte for byte: readers that look at
// no tensor take it for the file. Left out where it is too large for a small file.
inline constexpr char kGgufHeaderFile[] = "header.gguf";

class GgufFormat final : public Format {
 public:
  const char* name() const override { return "gguf"; }
  bool Sniff(const InputFile& file, std::span<const std::byte> start) const override;
  absl::Status Parse(std::span<const InputFile> files, const std::string& key_prefix,
                     Collector& out) const override;
};

}  // namespace modeld::checkpoint
