// The header of one safetensors file, as text, to tensors. Private to the folder.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "checkpoint/json_reader.h"
#include "wire/dtype.h"

namespace modeld::checkpoint {

// Reads a header and checks everything that can be told from it. The views it hands out live as
// long as the object and the text.
//
// A header that lies may describe a million tensors: they are kept as flat records, about as large
// as their text.
class SafetensorsHeader {
 public:
  struct Tensor {
    std::string_view name;
    uint64_t begin = 0;  // of its bytes, from the end of the header
    uint64_t end = 0;
    uint32_t dims_at = 0;
    uint16_t rank = 0;
    wire::DType dtype = wire::DType::kU8;
    uint32_t name_position = 0;  // in the text, in bytes
    uint32_t offsets_position = 0;
  };

  struct Limits {
    size_t tensors;
    size_t dimensions;
  };

  // `text` is what follows the length; `data_bytes` is what follows the text. `path` is for
  // messages.
  SafetensorsHeader(const std::string& path, std::string_view text, uint64_t data_bytes)
      : path_(path), text_(text), data_bytes_(data_bytes), reader_(text) {}

  // Once. Malformed, with bytes counted from the start of the file.
  absl::Status Read(const Limits& limits);

  // In the order of their bytes; they cover the data without a hole.
  std::span<const Tensor> tensors() const { return tensors_; }
  std::span<const int64_t> shape(const Tensor& tensor) const {
    return std::span(dims_).subspan(tensor.dims_at, tensor.rank);
  }
  size_t dimension_count() const { return dims_.size(); }
  std::span<const std::pair<std::string_view, std::string_view>> metadata() const {
    return metadata_;
  }
  // Of something at `position` in the text.
  static uint64_t FileByte(uint64_t position) { return 8 + position; }

 private:
  bool ReadAll(const Limits& limits);
  bool ReadMetadata();
  bool ReadTensor(std::string_view name, size_t name_position, const Limits& limits);
  bool ReadDType(wire::DType* dtype);
  bool ReadShape(const Limits& limits);
  bool ReadOffsets(Tensor* tensor);
  bool CheckTensor(const Tensor& tensor, size_t shape_position);
  absl::Status CheckCoverage();
  absl::Status MalformedAt(uint64_t position, const std::string& what, std::string_view tensor = {},
                           const std::string& hint = {}) const;

  const std::string& path_;
  const std::string_view text_;
  const uint64_t data_bytes_;
  JsonReader reader_;
  std::string_view current_;  // the tensor that is being read, for messages
  std::string hint_;          // that goes with the reader's failure; may be empty
  std::vector<Tensor> tensors_;
  std::vector<int64_t> dims_;  // shapes one after another
  std::vector<std::pair<std::string_view, std::string_view>> metadata_;
};

}  // namespace modeld::checkpoint
