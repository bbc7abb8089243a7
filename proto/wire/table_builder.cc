#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "wire/table_format.h"
#include "wire/tensor_table.h"

namespace modeld::wire {
namespace {

// A stride that Validate refuses.
constexpr int64_t kNoStride = -1;

template <typename T>
void Put(std::string& table, uint64_t offset, const T& value) {
  std::memcpy(table.data() + offset, &value, sizeof(T));
}

template <typename T>
T Saturate(size_t value) {
  return static_cast<T>(std::min<size_t>(value, std::numeric_limits<T>::max()));
}

}  // namespace

uint32_t TableBuilder::AddRegion(uint64_t size_bytes) {
  regions_.push_back(size_bytes);
  return static_cast<uint32_t>(regions_.size() - 1);
}

void TableBuilder::Add(const TensorEntry& entry) {
  Tensor tensor = {.name = std::string(entry.name),
                   .dtype = entry.dtype,
                   .dims = {entry.shape.begin(), entry.shape.end()},
                   .region = entry.region,
                   .offset = entry.offset,
                   .size_bytes = entry.size_bytes,
                   .alias = entry.alias};
  if (entry.strides.size() == entry.shape.size()) {
    tensor.dims.insert(tensor.dims.end(), entry.strides.begin(), entry.strides.end());
  } else {
    tensor.dims.insert(tensor.dims.end(), entry.shape.size(), kNoStride);
  }
  tensors_.push_back(std::move(tensor));
}

void TableBuilder::AddMetadata(std::string_view key, std::string_view value) {
  metadata_.emplace_back(key, value);
}

std::string TableBuilder::Build() const {
  std::vector<uint32_t> sorted(tensors_.size());  // position in file order by entry index
  std::iota(sorted.begin(), sorted.end(), 0u);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](uint32_t a, uint32_t b) { return tensors_[a].name < tensors_[b].name; });

  format::Header header = {};
  std::memcpy(header.magic, format::kMagic, sizeof(header.magic));
  header.version = format::kVersion;
  header.tensor_count = static_cast<uint32_t>(tensors_.size());
  header.region_count = static_cast<uint32_t>(regions_.size());
  header.metadata_count = static_cast<uint32_t>(metadata_.size());
  for (const Tensor& tensor : tensors_) {
    header.dim_count += tensor.dims.size();
    header.string_bytes += tensor.name.size();
  }
  for (const auto& [key, value] : metadata_) header.string_bytes += key.size() + value.size();
  const format::Sections sections = format::Layout(header);
  header.total_bytes = sections.end;

  std::string table(sections.end, '\0');
  Put(table, 0, header);
  for (size_t i = 0; i < regions_.size(); ++i) {
    Put(table, sections.regions + i * sizeof(uint64_t), regions_[i]);
  }

  uint64_t dims = 0;
  uint64_t strings = 0;
  const auto put_string = [&](std::string_view text) {
    std::memcpy(table.data() + sections.strings + strings, text.data(), text.size());
    return static_cast<uint32_t>(std::exchange(strings, strings + text.size()));
  };
  for (size_t i = 0; i < sorted.size(); ++i) {
    const Tensor& tensor = tensors_[sorted[i]];
    if (!tensor.dims.empty()) {
      std::memcpy(table.data() + sections.dims + dims * sizeof(int64_t), tensor.dims.data(),
                  tensor.dims.size() * sizeof(int64_t));
    }
    const format::Tensor record = {
        .offset = tensor.offset,
        .size_bytes = tensor.size_bytes,
        .name_offset = put_string(tensor.name),
        .name_bytes = Saturate<uint32_t>(tensor.name.size()),
        .dim_begin = static_cast<uint32_t>(std::exchange(dims, dims + tensor.dims.size())),
        .region = tensor.region,
        .dtype = static_cast<uint16_t>(tensor.dtype),
        .rank = Saturate<uint16_t>(tensor.dims.size() / 2),
        .flags = tensor.alias ? format::kFlagAlias : uint16_t{0},
        .reserved = 0};
    Put(table, sections.tensors + i * sizeof(record), record);
    Put(table, sections.order + sorted[i] * sizeof(uint32_t), static_cast<uint32_t>(i));
  }
  for (size_t i = 0; i < metadata_.size(); ++i) {
    const auto& [key, value] = metadata_[i];
    format::Metadata record = {};
    record.key_offset = put_string(key);
    record.key_bytes = Saturate<uint32_t>(key.size());
    record.value_offset = put_string(value);
    record.value_bytes = Saturate<uint32_t>(value.size());
    Put(table, sections.metadata + i * sizeof(record), record);
  }
  return table;
}

}  // namespace modeld::wire
