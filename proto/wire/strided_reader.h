// The elements of a tensor with strides, in row-major order.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace modeld::wire {

// Do the elements lie one after another? Strides of dimensions of one element do not matter.
// REQUIRES: shape.size() == strides.size()
bool IsContiguous(std::span<const int64_t> shape, std::span<const int64_t> strides);

// Gathers a tensor piece by piece. Externally synchronised; the spans and the memory must outlive
// it.
class StridedReader {
 public:
  // REQUIRES: shape and strides are those of a validated entry with elements of whole bytes;
  // `first` is its first.
  StridedReader(const std::byte* first, size_t element_bytes, std::span<const int64_t> shape,
                std::span<const int64_t> strides);

  // Copies the next elements.
  // REQUIRES: out.size() is a multiple of element_bytes and no more than what is left
  void Read(std::span<std::byte> out);

 private:
  struct Dimension {
    uint64_t size;
    uint64_t stride_bytes;
    uint64_t position;
  };

  void Advance();

  const std::byte* at_;  // the run that is being read
  size_t element_bytes_;
  // The innermost dimension, outside of which are `outer_` (outermost first).
  uint64_t run_elements_ = 1;
  uint64_t run_stride_bytes_ = 0;
  uint64_t run_position_ = 0;
  std::vector<Dimension> outer_;
};

}  // namespace modeld::wire
