// The tensor table: which tensors there are and where their bytes lie, flat, sorted and read in
// place.
//
// One memfd holds one table. It is used twice:
//   - a *source table*, written by the parser: region i is file i, offsets are file offsets;
//   - a *resident table*, written by modeld's layout and mapped by every holder: region i is
//   segment i.
// Little-endian, all sections 8-byte aligned; docs/tensor-table.md has the bytes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/dtype.h"

namespace modeld::wire {

// One tensor. The views point into the table and live as long as its bytes.
struct TensorEntry {
  std::string_view name;
  DType dtype = DType::kU8;
  std::span<const int64_t> shape;    // elements; empty for a scalar
  std::span<const int64_t> strides;  // elements, as many as shape
  uint32_t region = 0;
  uint64_t offset = 0;      // bytes from the start of the region
  uint64_t size_bytes = 0;  // bytes from the first to one past the last element
  bool alias = false;       // shares bytes with another entry on purpose (tied weights)
};

// Row-major strides in elements of a shape.
std::vector<int64_t> ContiguousStrides(std::span<const int64_t> shape);

// Bytes of a C-contiguous tensor; nullopt where that overflows, a dimension is negative, the
// elements do not fill whole bytes (types of less than a byte), or the innermost dimension does not
// fill whole blocks.
std::optional<uint64_t> ContiguousBytes(DType dtype, std::span<const int64_t> shape);

// Collects tensors in file order and writes a table. Externally synchronised.
class TableBuilder {
 public:
  // Returns the region's index.
  uint32_t AddRegion(uint64_t size_bytes);
  // Copies everything. Nothing is checked here: Validate is the one judge.
  void Add(const TensorEntry& entry);
  void AddMetadata(std::string_view key, std::string_view value);
  size_t tensor_count() const { return tensors_.size(); }
  // The bytes of the table: entries sorted by name, file order kept beside them.
  std::string Build() const;

 private:
  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<int64_t> dims;  // shape, then strides
    uint32_t region;
    uint64_t offset;
    uint64_t size_bytes;
    bool alias;
  };
  std::vector<uint64_t> regions_;
  std::vector<Tensor> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

struct ValidateOptions {
  // Every tensor's offset must be a multiple of its dtype's alignment (resident tables).
  bool require_alignment = false;
  // How large the regions really are, by region: the table may name no other region and no larger
  // size. Without it the table's word is taken.
  std::optional<std::span<const uint64_t>> region_sizes = std::nullopt;
};

// A validated table, read in place. Copyable (it is a view); thread-safe.
//
// The bytes must not change after Validate: tables that come from elsewhere are sealed memfds.
class TableView {
 public:
  TableView() = default;

  // Checks everything a reader relies on: magic, version, sections within the bytes, names sorted,
  // unique and UTF-8, dtypes known, shapes and strides without overflow, each tensor within its
  // region, no two tensors overlapping unless both are aliases, alignment if asked for. O(n log n),
  // allocates O(n). INVALID_ARGUMENT (kCheckpointMalformed) names the tensor and what is wrong with
  // it. REQUIRES: bytes.data() is a multiple of 8 (mappings and heap blocks are)
  static absl::StatusOr<TableView> Validate(std::span<const std::byte> bytes,
                                            const ValidateOptions& options = {});

  size_t size() const;
  TensorEntry entry(size_t index) const;  // sorted by name; index < size()
  // Index of the tensor that was `position`th in file order.
  size_t in_order(size_t position) const;
  std::optional<size_t> find(std::string_view name) const;  // O(log n)

  size_t region_count() const;
  uint64_t region_size(size_t region) const;

  size_t metadata_count() const;
  std::pair<std::string_view, std::string_view> metadata(size_t index) const;  // as inserted

  // Sum of size_bytes over the tensors that are no alias.
  uint64_t tensor_bytes() const;

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace modeld::wire
