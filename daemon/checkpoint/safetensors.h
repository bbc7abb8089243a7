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

// modeld's own limits. They bound what a header costs to read: the reference has none but the
// length.
inline constexpr size_t kMaxTensors = 1'000'000;     // per checkpoint
inline constexpr size_t kMaxDimensions = 8'000'000;  // all shapes of a checkpoint together
inline constexpr size_t kMaxMetadata = 100'000;      // entries of `__metadata__`
inline constexpr size_t kMaxRank = 64;               // as in tensor tables

class SafetensorsFormat final : public Format {
 public:
  const char* name() const override { return "safetensors"; }
  bool Sniff(const InputFile& file, std::span<const std::byte> start) const override;
  absl::StatusOr<std::string> Parse(std::span<const InputFile> files) const override;
};

}  // namespace modeld::checkpoint
