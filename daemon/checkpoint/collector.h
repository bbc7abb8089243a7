// What formats find, put together: tensors under the names that the load config gives them,
// metadata and small files.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "plan/load_config.h"
#include "plan/open_checkpoint.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"

namespace modeld::checkpoint {

class ShardIndex;

// modeld's own limits. They bound what a hostile checkpoint costs to read.
inline constexpr size_t kMaxTensors = 1'000'000;
inline constexpr size_t kMaxDimensions = 8'000'000;  // of all shapes of a checkpoint together
inline constexpr size_t kMaxMetadata = 100'000;
inline constexpr size_t kMaxRank = 64;  // as in tensor tables
using plan::kMaxSmallFileBytes;
using plan::kMaxSmallFilesBytes;

// Externally synchronised. Copies what it is given.
class Collector {
 public:
  // `config` outlives the collector.
  explicit Collector(const plan::LoadConfig& config) : config_(config) {}

  // Tells `index`, which outlives the collector, of every tensor that is seen.
  void TellIndex(ShardIndex* index) { index_ = index; }

  // In the order in which regions are numbered.
  void AddRegion(uint64_t size_bytes) { builder_.AddRegion(size_bytes); }

  // Takes a tensor, unless the load config leaves it out. `entry.name` is as stored, `entry.dtype`
  // too. False: a tensor that was taken before has this name (after the prefix is taken off).
  // REQUIRES: room() for it and its dimensions.
  [[nodiscard]] bool AddTensor(const wire::TensorEntry& entry);
  // The first word on a key stands, and so does the first file of a name.
  void AddMetadata(std::string_view key, std::string_view value);
  void AddFile(std::string_view name, std::string_view bytes) {
    reference_table_.AddFile(name, bytes);
  }

  // How many more tensors and dimensions may come, whether or not they are taken, and how many
  // bytes of small files.
  size_t tensors_left() const { return kMaxTensors - seen_; }
  size_t dimensions_left() const { return kMaxDimensions - dimensions_; }
  uint64_t file_bytes_left() const {
    const uint64_t used = reference_table_.file_bytes();
    return used < kMaxSmallFilesBytes ? kMaxSmallFilesBytes - used : 0;
  }

  size_t seen() const { return seen_; }
  size_t taken() const { return builder_.tensor_count(); }
  // Beginnings of the first few names that were seen, up to a `.`: what a key prefix could be.
  const std::vector<std::string>& prefixes() const { return prefixes_; }

  std::string BuildTable() const { return builder_.Build(); }
  std::string BuildReferenceTable() const { return reference_table_.Build(); }

 private:
  void RememberPrefix(std::string_view name);

  const plan::LoadConfig& config_;
  ShardIndex* index_ = nullptr;
  wire::TableBuilder builder_;
  wire::ReferenceTableBuilder reference_table_;
  size_t seen_ = 0;
  size_t dimensions_ = 0;
  std::vector<std::string> prefixes_;
  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> metadata_keys_;
};

}  // namespace modeld::checkpoint
