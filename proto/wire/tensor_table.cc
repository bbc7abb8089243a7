#include "wire/tensor_table.h"

#include <algorithm>
#include <limits>

#include "wire/checked.h"
#include "wire/table_format.h"

namespace modeld::wire {
namespace {

format::Header HeaderOf(std::span<const std::byte> bytes) {
  return bytes.empty() ? format::Header{} : format::Read<format::Header>(bytes, 0);
}

std::string_view String(std::span<const std::byte> bytes, const format::Sections& sections,
                        uint32_t offset, uint32_t size) {
  return {reinterpret_cast<const char*>(bytes.data()) + sections.strings + offset, size};
}

format::Tensor ReadTensor(std::span<const std::byte> bytes, const format::Sections& sections,
                          size_t index) {
  return format::Read<format::Tensor>(bytes, sections.tensors + index * sizeof(format::Tensor));
}

}  // namespace

std::vector<int64_t> ContiguousStrides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    // Saturates: only a tensor without elements or one that Validate refuses gets there.
    if (__builtin_mul_overflow(stride, std::max<int64_t>(shape[i], 1), &stride)) {
      stride = std::numeric_limits<int64_t>::max();
    }
  }
  return strides;
}

std::optional<uint64_t> ContiguousBytes(DType dtype, std::span<const int64_t> shape) {
  const DTypeBlock block = DTypeBlockOf(dtype);
  if (block.elements == 0 || std::ranges::any_of(shape, [](int64_t dim) { return dim < 0; })) {
    return std::nullopt;
  }
  // No block goes over the end of a row.
  if (block.elements > 1 && (shape.empty() || shape.back() % block.elements != 0)) {
    return std::nullopt;
  }
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::optional<uint64_t> elements = 1;
  for (const int64_t dim : shape) {
    elements = CheckedMul(*elements, static_cast<uint64_t>(dim));
    if (!elements) return std::nullopt;
  }
  const uint64_t blocks = *elements / block.elements;
  if (block.bits % 8 == 0) return CheckedMul(blocks, block.bits / 8);
  const auto total_bits = CheckedMul(blocks, block.bits);
  if (!total_bits || *total_bits % 8 != 0) return std::nullopt;
  return *total_bits / 8;
}

size_t TableView::size() const { return HeaderOf(bytes_).tensor_count; }

TensorEntry TableView::entry(size_t index) const {
  const format::Sections sections = format::Layout(HeaderOf(bytes_));
  const format::Tensor tensor = ReadTensor(bytes_, sections, index);
  // Validate made sure that the table begins at a multiple of 8, and sections do.
  const auto* dims =
      reinterpret_cast<const int64_t*>(bytes_.data() + sections.dims) + tensor.dim_begin;
  return {.name = String(bytes_, sections, tensor.name_offset, tensor.name_bytes),
          .dtype = static_cast<DType>(tensor.dtype),
          .shape = {dims, tensor.rank},
          .strides = {dims + tensor.rank, tensor.rank},
          .region = tensor.region,
          .offset = tensor.offset,
          .size_bytes = tensor.size_bytes,
          .alias = (tensor.flags & format::kFlagAlias) != 0};
}

size_t TableView::in_order(size_t position) const {
  const format::Sections sections = format::Layout(HeaderOf(bytes_));
  return format::Read<uint32_t>(bytes_, sections.order + position * sizeof(uint32_t));
}

std::optional<size_t> TableView::find(std::string_view name) const {
  const format::Header header = HeaderOf(bytes_);
  const format::Sections sections = format::Layout(header);
  size_t low = 0;
  size_t high = header.tensor_count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const format::Tensor tensor = ReadTensor(bytes_, sections, middle);
    const int compared =
        String(bytes_, sections, tensor.name_offset, tensor.name_bytes).compare(name);
    if (compared == 0) return middle;
    if (compared < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::nullopt;
}

size_t TableView::region_count() const { return HeaderOf(bytes_).region_count; }

uint64_t TableView::region_size(size_t region) const {
  const format::Sections sections = format::Layout(HeaderOf(bytes_));
  return format::Read<uint64_t>(bytes_, sections.regions + region * sizeof(uint64_t));
}

size_t TableView::metadata_count() const { return HeaderOf(bytes_).metadata_count; }

std::pair<std::string_view, std::string_view> TableView::metadata(size_t index) const {
  const format::Sections sections = format::Layout(HeaderOf(bytes_));
  const auto record =
      format::Read<format::Metadata>(bytes_, sections.metadata + index * sizeof(format::Metadata));
  return {String(bytes_, sections, record.key_offset, record.key_bytes),
          String(bytes_, sections, record.value_offset, record.value_bytes)};
}

uint64_t TableView::tensor_bytes() const {
  const format::Header header = HeaderOf(bytes_);
  const format::Sections sections = format::Layout(header);
  uint64_t sum = 0;  // cannot wrap: these do not overlap, and the regions' sum is an int64
  for (size_t i = 0; i < header.tensor_count; ++i) {
    const format::Tensor tensor = ReadTensor(bytes_, sections, i);
    if ((tensor.flags & format::kFlagAlias) == 0) sum += tensor.size_bytes;
  }
  return sum;
}

}  // namespace modeld::wire
