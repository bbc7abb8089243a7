#include "wire/reference_table.h"

#include <algorithm>
#include <cstring>

#include "wire/checked.h"
#include "wire/error.h"

namespace modeld::wire {
namespace {

constexpr char kReferenceMagic[8] = {'m', 'o', 'd', 'e', 'l', 'd', 'R', 'T'};

// What stands before the tensor table.
struct Prefix {
  char magic[8];
  uint64_t table_bytes;  // a multiple of 8
};
static_assert(sizeof(Prefix) == 16);

absl::Status MalformedReferences(const char* what) {
  return MakeError(Reason::kCheckpointMalformed, std::string("a reference table ") + what);
}

template <class Pairs>
bool Contains(const Pairs& pairs, std::string_view key) {
  return std::any_of(pairs.begin(), pairs.end(), [&](const auto& one) { return one.first == key; });
}

}  // namespace

void ReferenceTableBuilder::AddMetadata(std::string_view key, std::string_view value) {
  metadata_.emplace_back(key, value);
}

void ReferenceTableBuilder::AddFile(std::string_view name, std::string_view bytes) {
  if (Contains(files_, name)) return;
  files_.emplace_back(name, bytes);
  file_bytes_ += bytes.size();
}

std::string ReferenceTableBuilder::Build() const {
  TableBuilder builder;
  builder.AddRegion(file_bytes_);
  uint64_t offset = 0;
  for (const auto& [name, bytes] : files_) {
    const int64_t shape[] = {static_cast<int64_t>(bytes.size())};
    const int64_t strides[] = {1};
    builder.Add({.name = name,
                 .dtype = DType::kU8,
                 .shape = shape,
                 .strides = strides,
                 .region = 0,
                 .offset = offset,
                 .size_bytes = bytes.size()});
    offset += bytes.size();
  }
  for (const auto& [key, value] : metadata_) builder.AddMetadata(key, value);
  const std::string table = builder.Build();

  Prefix prefix = {};
  std::memcpy(prefix.magic, kReferenceMagic, sizeof(kReferenceMagic));
  prefix.table_bytes = table.size();
  std::string out(sizeof(prefix), '\0');
  std::memcpy(out.data(), &prefix, sizeof(prefix));
  out.reserve(out.size() + table.size() + file_bytes_);
  out += table;
  for (const auto& [name, bytes] : files_) out += bytes;
  return out;
}

absl::StatusOr<ReferenceTable> ReferenceTable::Validate(std::span<const std::byte> bytes) {
  Prefix prefix = {};
  if (bytes.size() < sizeof(prefix)) return MalformedReferences("is too short");
  std::memcpy(&prefix, bytes.data(), sizeof(prefix));
  if (std::memcmp(prefix.magic, kReferenceMagic, sizeof(kReferenceMagic)) != 0)
    return MalformedReferences("has no magic");
  if (!RangeFits(sizeof(prefix), prefix.table_bytes, bytes.size())) {
    return MalformedReferences("ends within its own entries");
  }
  ReferenceTable result;
  result.data_ = bytes.subspan(sizeof(prefix) + prefix.table_bytes);
  const uint64_t region_sizes[] = {result.data_.size()};
  auto table = TableView::Validate(bytes.subspan(sizeof(prefix), prefix.table_bytes),
                                   {.region_sizes = region_sizes});
  if (!table.ok()) return table.status();
  for (size_t i = 0; i < table->size(); ++i) {
    const TensorEntry entry = table->entry(i);
    const bool plain = entry.dtype == DType::kU8 && entry.shape.size() == 1 &&
                       static_cast<uint64_t>(entry.shape[0]) == entry.size_bytes;
    if (!plain) return MalformedReferences("has an entry that is no file");
  }
  result.table_ = *table;
  return result;
}

ReferenceFile ReferenceTable::file(size_t index) const {
  const TensorEntry entry = table_->entry(index);
  return {.name = entry.name, .bytes = data_.subspan(entry.offset, entry.size_bytes)};
}

std::optional<ReferenceFile> ReferenceTable::find_file(std::string_view name) const {
  const auto index = table_ ? table_->find(name) : std::nullopt;
  if (!index) return std::nullopt;
  return file(*index);
}

}  // namespace modeld::wire
