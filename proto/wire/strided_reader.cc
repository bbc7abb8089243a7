#include "wire/strided_reader.h"

#include <algorithm>
#include <cstring>

namespace modeld::wire {
namespace {

template <size_t kBytes>
void Gather(std::byte* out, const std::byte* in, uint64_t count, uint64_t stride_bytes) {
  for (uint64_t i = 0; i < count; ++i) std::memcpy(out + i * kBytes, in + i * stride_bytes, kBytes);
}

}  // namespace

bool IsContiguous(std::span<const int64_t> shape, std::span<const int64_t> strides) {
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 1) continue;
    if (strides[i] != expected) return false;
    if (__builtin_mul_overflow(expected, shape[i], &expected)) return false;
  }
  return true;
}

StridedReader::StridedReader(const std::byte* first, size_t element_bytes,
                             std::span<const int64_t> shape, std::span<const int64_t> strides)
    : at_(first), element_bytes_(element_bytes), run_stride_bytes_(element_bytes) {
  // From the innermost outwards; what continues the dimension inside it is one with it.
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 1) continue;
    const uint64_t size = static_cast<uint64_t>(shape[i]);
    const uint64_t stride_bytes = static_cast<uint64_t>(strides[i]) * element_bytes;
    if (outer_.empty() && run_elements_ == 1) {
      run_elements_ = size;
      run_stride_bytes_ = stride_bytes;
    } else if (outer_.empty() && stride_bytes == run_elements_ * run_stride_bytes_) {
      run_elements_ *= size;
    } else {
      outer_.push_back({.size = size, .stride_bytes = stride_bytes, .position = 0});
    }
  }
  std::ranges::reverse(outer_);
}

void StridedReader::Read(std::span<std::byte> out) {
  while (!out.empty()) {
    if (run_position_ == run_elements_) Advance();
    const uint64_t count =
        std::min<uint64_t>(run_elements_ - run_position_, out.size() / element_bytes_);
    const std::byte* in = at_ + run_position_ * run_stride_bytes_;
    if (run_stride_bytes_ == element_bytes_) {
      std::memcpy(out.data(), in, count * element_bytes_);
    } else if (element_bytes_ == 1) {
      Gather<1>(out.data(), in, count, run_stride_bytes_);
    } else if (element_bytes_ == 2) {
      Gather<2>(out.data(), in, count, run_stride_bytes_);
    } else if (element_bytes_ == 4) {
      Gather<4>(out.data(), in, count, run_stride_bytes_);
    } else {
      Gather<8>(out.data(), in, count, run_stride_bytes_);
    }
    run_position_ += count;
    out = out.subspan(count * element_bytes_);
  }
}

void StridedReader::Advance() {
  run_position_ = 0;
  for (size_t i = outer_.size(); i-- > 0;) {
    Dimension& dimension = outer_[i];
    at_ += dimension.stride_bytes;
    if (++dimension.position < dimension.size) return;
    at_ -= dimension.stride_bytes * dimension.size;
    dimension.position = 0;
  }
}

}  // namespace modeld::wire
