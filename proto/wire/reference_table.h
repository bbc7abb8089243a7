// The reference table: what belongs to a reference and is not weights. Metadata, configuration,
// tokenizers, the code of a TorchScript archive.
//
// Two references with equal weights share one copy of those and have a reference table each. One
// memfd holds one, read in place: a tensor table (wire/tensor_table.h) whose entries are files and
// whose one region is what follows it; docs/tensor-table.md has the bytes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "wire/tensor_table.h"

namespace modeld::wire {

// Collects and writes. Externally synchronised.
class ReferenceTableBuilder {
 public:
  // Both copy. Of several entries with one key, or files of one name, the first stands.
  void AddMetadata(std::string_view key, std::string_view value);
  void AddFile(std::string_view name, std::string_view bytes);

  uint64_t file_bytes() const { return file_bytes_; }
  std::string Build() const;

 private:
  std::vector<std::pair<std::string, std::string>> metadata_;
  std::vector<std::pair<std::string, std::string>> files_;
  uint64_t file_bytes_ = 0;
};

// A small file.
struct ReferenceFile {
  std::string_view name;  // a relative path: `tokenizer.json`, `code/__torch__.py`
  std::span<const std::byte> bytes;
};

// A validated reference table, read in place. Copyable (it is a view); thread-safe.
class ReferenceTable {
 public:
  // Empty.
  ReferenceTable() = default;

  // Checks everything a reader relies on, as TableView::Validate does. kCheckpointMalformed.
  // REQUIRES: bytes.data() is a multiple of 8, and the bytes do not change
  static absl::StatusOr<ReferenceTable> Validate(std::span<const std::byte> bytes);

  size_t metadata_count() const { return table_ ? table_->metadata_count() : 0; }
  // As inserted. REQUIRES: index < metadata_count()
  std::pair<std::string_view, std::string_view> metadata(size_t index) const {
    return table_->metadata(index);
  }
  // Sorted by name. REQUIRES: index < file_count()
  size_t file_count() const { return table_ ? table_->size() : 0; }
  ReferenceFile file(size_t index) const;
  std::optional<ReferenceFile> find_file(std::string_view name) const;

 private:
  std::optional<TableView> table_;
  std::span<const std::byte> data_;
};

}  // namespace modeld::wire
