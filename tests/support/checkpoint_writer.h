// Checkpoints for tests: safetensors files whose bytes can be told again without reading them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "wire/dtype.h"

namespace modeld::test {

struct TensorSpec {
  std::string name;
  wire::DType dtype = wire::DType::kF32;
  std::vector<int64_t> shape;
  // Of its content alone: tensors of equal seed, type and shape are equal wherever they stand. 0:
  // its content follows from the checkpoint's seed and its place there.
  uint64_t seed = 0;

  uint64_t size_bytes() const;
};

// What a file holds: the tensors in this order, without gaps. Equal specs give equal files.
struct CheckpointSpec {
  std::vector<TensorSpec> tensors;
  std::map<std::string, std::string> metadata = {};
  uint64_t seed = 1;
  // The header is padded with spaces so that the data begins at a multiple of this plus
  // `data_shift`, as far as a test wants it aligned or not. safetensors itself pads to 8.
  uint64_t data_alignment = 8;
  uint64_t data_shift = 0;

  uint64_t tensor_bytes() const;
};

// `count` F32 tensors `layer.0.weight`, ... of about `total_bytes` together, each of a multiple of
// 4 KiB.
CheckpointSpec LargeSpec(uint64_t total_bytes, int count = 16, uint64_t seed = 1);

// A few tensors of several dtypes and shapes, a scalar and an empty one among them: about 100 KiB.
CheckpointSpec SmallSpec(uint64_t seed = 1);

// Fills `bytes` with what tensor `index` has from `offset` (a multiple of 8) on: pseudo-random, and
// for floating point never infinite or NaN (F16 and wider). About 4 GiB a second.
void TensorContent(const CheckpointSpec& spec, size_t index, uint64_t offset,
                   std::span<std::byte> bytes);

// All of a tensor.
std::string TensorBytes(const CheckpointSpec& spec, size_t index);

// The bytes before the data: header length and header.
std::string SafetensorsHeader(const CheckpointSpec& spec);

// Writes the file and returns `path`; a file that cannot be written ends the test program. As fast
// as the file system takes it: a GiB in a second or two.
std::string WriteCheckpoint(const std::string& path, const CheckpointSpec& spec);

}  // namespace modeld::test
