// Bytes that pass Validate can be read in every way a holder reads a table, within their regions
// and within the bytes.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "wire/checked.h"
#include "wire/digest.h"
#include "wire/tensor_table.h"

namespace {

using modeld::wire::TableBuilder;
using modeld::wire::TableView;
using modeld::wire::TensorEntry;

constexpr uint64_t kMaxDigestBytes = 1 << 20;

void Require(bool ok) {
  if (!ok) abort();
}

void RequireReadable(const TableView& table) {
  uint64_t sum = 0;
  std::string previous;
  for (size_t i = 0; i < table.size(); ++i) {
    const TensorEntry entry = table.entry(i);
    Require(i == 0 || previous < entry.name);
    previous = entry.name;
    Require(table.find(entry.name) == i);
    Require(entry.region < table.region_count());
    Require(
        modeld::wire::RangeFits(entry.offset, entry.size_bytes, table.region_size(entry.region)));
    Require(modeld::wire::ContiguousBytes(entry.dtype, entry.shape).has_value());
    for (size_t d = 0; d < entry.shape.size(); ++d) {
      Require(entry.shape[d] >= 0 && entry.strides[d] >= 0);
    }
    if (!entry.alias) sum += entry.size_bytes;
  }
  Require(table.tensor_bytes() == sum);
  std::vector<bool> seen(table.size());
  for (size_t i = 0; i < table.size(); ++i) {
    Require(!seen.at(table.in_order(i)));
    seen[table.in_order(i)] = true;
  }
}

// There is one way to write a table: writing what was read gives the same bytes.
void RequireCanonical(const TableView& table, std::span<const std::byte> bytes) {
  TableBuilder builder;
  for (size_t i = 0; i < table.region_count(); ++i) builder.AddRegion(table.region_size(i));
  for (size_t i = 0; i < table.size(); ++i) builder.Add(table.entry(table.in_order(i)));
  for (size_t i = 0; i < table.metadata_count(); ++i) {
    const auto [key, value] = table.metadata(i);
    builder.AddMetadata(key, value);
  }
  const std::string again = builder.Build();
  Require(again.size() == bytes.size() && memcmp(again.data(), bytes.data(), bytes.size()) == 0);
}

// Digests read every byte of every tensor: under AddressSanitizer that proves the ranges.
void RequireDigestible(const TableView& table) {
  uint64_t work = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    const TensorEntry entry = table.entry(i);
    const auto bytes = *modeld::wire::ContiguousBytes(entry.dtype, entry.shape);
    if (bytes > kMaxDigestBytes - work) return;
    work += bytes;
  }
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::span<const std::byte>> segments;
  uint64_t left = kMaxDigestBytes;
  for (size_t i = 0; i < table.region_count(); ++i) {
    if (table.region_size(i) > left) return;
    left -= table.region_size(i);
    memory.emplace_back(table.region_size(i), std::byte{0x5a});
  }
  segments.assign(memory.begin(), memory.end());
  const auto digests = modeld::wire::TensorDigests(table, segments, nullptr);
  Require(digests.ok() && digests->size() == table.size());
  modeld::wire::WeightsDigest(table, *digests);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A heap block of exactly this size, so that AddressSanitizer sees the first byte beyond.
  std::vector<uint64_t> aligned((size + 7) / 8);
  if (size > 0) memcpy(aligned.data(), data, size);
  const auto bytes = std::as_bytes(std::span(aligned)).first(size);

  const auto table = TableView::Validate(bytes);
  const auto strict = TableView::Validate(bytes, {.require_alignment = true});
  Require(table.ok() || !strict.ok());
  if (!table.ok()) return 0;
  RequireReadable(*table);
  RequireCanonical(*table, bytes);
  RequireDigestible(*table);
  return 0;
}
