// A few bytes of a checkpoint's tensors: enough to tell two of the same shapes apart at once,
// nearly always, and never proof that they are equal.

#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "checkpoint/format.h"
#include "plan/load_config.h"
#include "wire/tensor_table.h"

namespace modeld::checkpoint {

inline constexpr size_t kSampleBytes = 16;
// How many tensors are looked at, and how much of each.
inline constexpr size_t kSampledTensors = 512;
inline constexpr size_t kSampledBytes = 4096;

// kSampleBytes per tensor in table order: XXH3-128 of the tensor's first kSampledBytes after the
// cast. All zero: not looked at, because it has strides, no bytes, or is not among the
// kSampledTensors whose names' hashes come first (so that two checkpoints look at the same ones).
// kReadFailed, kCheckpointChanged. REQUIRES: `table` is valid for `files`.
absl::StatusOr<std::string> TakeSamples(const wire::TableView& table,
                                        std::span<const InputFile> files,
                                        const plan::LoadConfig& config);

}  // namespace modeld::checkpoint
