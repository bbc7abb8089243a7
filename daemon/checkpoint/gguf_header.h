// What lies before the tensors of one GGUF file, to metadata and tensors. Private to the folder.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "checkpoint/format.h"
#include "wire/dtype.h"

namespace modeld::checkpoint {

// Reads piece by piece, for a GGUF file does not say how long its header is, and checks everything
// that can be told from it. The views it hands out live as long as the object.
//
// A header that lies may describe a million tensors: they are kept as flat records, about as large
// as their bytes.
class GgufHeader {
 public:
  struct Text {
    uint32_t at = 0;  // in the file
    uint32_t bytes = 0;
  };
  struct Tensor {
    Text name;
    uint64_t begin = 0;  // of its bytes, from data_at()
    uint64_t size_bytes = 0;
    uint32_t dims_at = 0;
    uint32_t offset_position = 0;  // in the file
    uint16_t rank = 0;
    wire::DType dtype = wire::DType::kU8;
  };
  struct Pair {
    Text key;
    std::string value;         // as text, UTF-8
    std::optional<Text> text;  // or the file's own
  };
  struct Limits {
    size_t tensors;
    size_t dimensions;
  };

  // `file` outlives the object.
  explicit GgufHeader(const InputFile& file) : file_(file) {}

  // Once. Malformed, kFormatUnsupported (a version, byte order or tensor type that is not read),
  // and what reading the file says.
  absl::Status Read(const Limits& limits);

  // In the order of their bytes.
  std::span<const Tensor> tensors() const { return tensors_; }
  // Outermost dimension first, as everywhere in modeld: the reverse of the file's order.
  std::span<const int64_t> shape(const Tensor& tensor) const {
    return std::span(dims_).subspan(tensor.dims_at, tensor.rank);
  }
  std::span<const Pair> metadata() const { return metadata_; }
  std::string_view text(const Text& text) const { return View(text); }
  std::string_view value(const Pair& pair) const {
    return pair.text ? View(*pair.text) : std::string_view(pair.value);
  }

  // Where the tensors' bytes begin.
  uint64_t data_at() const { return data_at_; }
  // Everything before the padding in front of them.
  std::string_view bytes() const { return std::string_view(bytes_).substr(0, at_); }
  // How many files the checkpoint was split into; nullopt: it was not.
  std::optional<uint64_t> split_count() const { return split_count_; }

 private:
  absl::Status ReadStart(uint64_t* tensor_count, uint64_t* pair_count, const Limits& limits);
  absl::Status ReadPair();
  // Of a value of this type; `depth` counts the arrays around it. Null `out`: it is only checked.
  absl::Status ReadValue(uint32_t type, size_t type_position, int depth, std::string* out);
  absl::Status ReadArray(int depth, std::string* out);
  absl::Status ReadAlignment(uint32_t type, size_t type_position);
  absl::Status ReadTensor(const Limits& limits);
  absl::Status ReadShape(const Limits& limits, Tensor* tensor);
  absl::Status ReadType(Tensor* tensor, size_t shape_position);
  absl::Status CheckNames() const;
  absl::Status CheckPlaces();

  // Makes the next `count` bytes readable.
  absl::Status Need(uint64_t count, const char* what);
  template <typename T>
  absl::Status Integer(T* value, const char* what);
  absl::Status String(Text* text, const char* what);
  std::string_view View(const Text& text) const {
    return std::string_view(bytes_).substr(text.at, text.bytes);
  }
  absl::Status MalformedAt(uint64_t position, const std::string& what,
                           const std::string& hint = {}) const;
  absl::Status Unsupported(const std::string& what, const std::string& hint) const;

  const InputFile& file_;
  std::string bytes_;  // the file's first ones
  size_t at_ = 0;      // the next one to understand
  uint64_t alignment_ = 32;
  uint64_t data_at_ = 0;
  std::optional<uint64_t> split_count_;
  std::optional<Text> current_;  // the name of the tensor that is being read, for messages
  std::vector<Tensor> tensors_;
  std::vector<int64_t> dims_;  // shapes one after another
  std::vector<Pair> metadata_;
};

}  // namespace modeld::checkpoint
