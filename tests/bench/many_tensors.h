// As many tensors as a checkpoint may reasonably have.

#pragma once

#include <string>

#include "support/checkpoint_writer.h"

namespace modeld::bench {

inline constexpr int kManyTensors = 100'000;

// Of 64 bytes each, named as those of a deep model.
inline test::CheckpointSpec ManyTensors(int count = kManyTensors) {
  test::CheckpointSpec spec;
  for (int i = 0; i < count; ++i) {
    spec.tensors.push_back({.name = "block." + std::to_string(i / 100) + ".layer." +
                                    std::to_string(i % 100) + ".weight",
                            .shape = {4, 4}});
  }
  return spec;
}

}  // namespace modeld::bench
