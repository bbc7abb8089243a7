// The checkpoints of the chaos test: what the files are called, and what every byte of them is.
//
// A *content* is a number, and all bytes follow from it. Each file says in its own header which
// content it has, so whoever maps a model knows what must be in it, under whatever name it came.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "modeld/model.h"
#include "support/checkpoint_writer.h"

namespace modeld::test {

// What two different files can have in common, and what makes them the same.
struct ChaosModel {
  enum class Format { kSafetensors, kSharded, kTorch };

  std::string reference;
  Format format = Format::kSafetensors;
  // Files of one family and version have the same content.
  uint32_t family = 0;
  // So small that a worker may hold two of these.
  bool small = false;
  // May it get another version under its name? The others are what aliases name: those never move
  // by themselves, and would be left without the files of the version that they were set to.
  bool replaceable = false;
};

// All there are: about three times kChaosCapacity. Some are equal (as other names and formats), and
// some have half of their tensors in common.
const std::vector<ChaosModel>& ChaosModels();

// Room for what kChaosWorkers can hold at most, one pinned model, and one that is on its way in or
// out: nobody has to wait for ever.
inline constexpr int kChaosWorkers = 5;
inline constexpr char kChaosCapacity[] = "112MiB";

inline constexpr uint32_t kChaosVersions = 100;
constexpr uint32_t ContentOf(uint32_t family, uint32_t version) {
  return family * kChaosVersions + version;
}

// The tensors of a content; its metadata has the content.
CheckpointSpec ChaosContent(uint32_t content);

// Writes it beside and renames it to its name below `root`. REQUIRES: version < kChaosVersions
void WriteChaosModel(const std::string& root, const ChaosModel& model, uint32_t version);

// Compares every byte of a mapped model with what its header says it is. What is wrong; nullopt if
// nothing is. `family`: that it must be of; absent: any.
std::optional<std::string> WhatIsWrong(const Model& model, std::optional<uint32_t> family);

}  // namespace modeld::test
