// safetensors: an 8-byte little-endian length, a JSON header of that length, and the tensors' bytes
// to the end.
//
// Source: https://github.com/huggingface/safetensors (README, "Format", and
// safetensors/src/tensor.rs). What is read, what is refused and where that differs from the
// reference implementation: docs/formats.md.

#pragma once

#include "checkpoint/format.h"

namespace modeld::checkpoint {

// The reference implementation's limit.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

class SafetensorsFormat final : public Format {
 public:
  const char* name() const override { return "safetensors"; }
  bool Sniff(const InputFile& file, std::span<const std::byte> start) const override;
  absl::Status Parse(std::span<const InputFile> files, const std::string& key_prefix,
                     Collector& out) const override;
};

}  // namespace modeld::checkpoint
