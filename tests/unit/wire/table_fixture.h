// A good table and the means to spoil one field of it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/table_format.h"
#include "wire/tensor_table.h"

namespace modeld::wire {

using Dims = std::vector<int64_t>;

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// A C-contiguous tensor. The views point into the arguments' storage: use within one expression or
// keep `shape`.
inline void AddContiguous(TableBuilder& builder, std::string_view name, DType dtype, Dims shape,
                          uint64_t offset, uint32_t region = 0, bool alias = false) {
  const Dims strides = ContiguousStrides(shape);
  builder.Add({.name = name,
               .dtype = dtype,
               .shape = shape,
               .strides = strides,
               .region = region,
               .offset = offset,
               .size_bytes = ContiguousBytes(dtype, shape).value_or(0),
               .alias = alias});
}

inline void AddStrided(TableBuilder& builder, std::string_view name, DType dtype, Dims shape,
                       Dims strides, uint64_t offset, uint64_t size_bytes) {
  builder.Add({.name = name,
               .dtype = dtype,
               .shape = shape,
               .strides = strides,
               .offset = offset,
               .size_bytes = size_bytes});
}

// In name order: bias [4] F32 at 24, embed [2,3] F32 at 0, empty [0,8] at 40, scale [] F16 at 40,
// view [2,2] F32 with strides 1,2 at 0 of region 1. In file order: embed, bias, empty, scale, view.
inline std::string GoodTable() {
  TableBuilder builder;
  builder.AddRegion(48);
  builder.AddRegion(16);
  AddContiguous(builder, "embed", DType::kF32, {2, 3}, 0);
  AddContiguous(builder, "bias", DType::kF32, {4}, 24);
  AddContiguous(builder, "empty", DType::kU8, {0, 8}, 40);
  AddContiguous(builder, "scale", DType::kF16, {}, 40);
  builder.Add({.name = "view",
               .dtype = DType::kF32,
               .shape = std::initializer_list<int64_t>{2, 2},
               .strides = std::initializer_list<int64_t>{1, 2},
               .region = 1,
               .offset = 0,
               .size_bytes = 16});
  builder.AddMetadata("format", "pt");
  builder.AddMetadata("note", "größe");
  return builder.Build();
}

enum GoodEntry : size_t { kBias, kEmbed, kEmpty, kScale, kView };

// One field of a table, read and written.
class TableEditor {
 public:
  explicit TableEditor(std::string& table) : table_(table) {}

  format::Header header() const { return Get<format::Header>(0); }
  void set_header(const format::Header& header) { Put(0, header); }
  format::Sections sections() const { return format::Layout(header()); }

  template <typename Edit>
  void EditHeader(Edit edit) {
    format::Header value = header();
    edit(value);
    Put(0, value);
  }
  template <typename Edit>
  void EditTensor(size_t index, Edit edit) {
    const uint64_t at = sections().tensors + index * sizeof(format::Tensor);
    auto value = Get<format::Tensor>(at);
    edit(value);
    Put(at, value);
  }
  template <typename Edit>
  void EditMetadata(size_t index, Edit edit) {
    const uint64_t at = sections().metadata + index * sizeof(format::Metadata);
    auto value = Get<format::Metadata>(at);
    edit(value);
    Put(at, value);
  }
  void SetShape(size_t index, size_t dimension, int64_t value) {
    const auto tensor = Get<format::Tensor>(sections().tensors + index * sizeof(format::Tensor));
    Put(sections().dims + (tensor.dim_begin + dimension) * sizeof(int64_t), value);
  }
  void SetStride(size_t index, size_t dimension, int64_t value) {
    const auto tensor = Get<format::Tensor>(sections().tensors + index * sizeof(format::Tensor));
    Put(sections().dims + (tensor.dim_begin + tensor.rank + dimension) * sizeof(int64_t), value);
  }
  void SetRegion(size_t index, uint64_t size) {
    Put(sections().regions + index * sizeof(uint64_t), size);
  }
  void SetOrder(size_t position, uint32_t index) {
    Put(sections().order + position * sizeof(uint32_t), index);
  }

 private:
  template <typename T>
  T Get(uint64_t offset) const {
    T value;
    std::memcpy(&value, table_.data() + offset, sizeof(T));
    return value;
  }
  template <typename T>
  void Put(uint64_t offset, const T& value) {
    std::memcpy(table_.data() + offset, &value, sizeof(T));
  }

  std::string& table_;
};

}  // namespace modeld::wire
