#include "support/checkpoint_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "nlohmann/json.hpp"
#include "wire/tensor_table.h"
#include "wire/unique_fd.h"

namespace modeld::test {
namespace {

constexpr size_t kBufferBytes = 4 << 20;

[[noreturn]] void Fail(const std::string& what) {
  std::cerr << what << "\n";
  std::abort();
}

// splitmix64, https://prng.di.unimi.it/splitmix64.c (public domain): good bits from a counter.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// Clears the top bit of each exponent: what is left is finite.
uint64_t Mask(wire::DType dtype) {
  switch (dtype) {
    case wire::DType::kBool:
      return 0x0101010101010101;
    case wire::DType::kF16:
    case wire::DType::kBF16:
      return 0xbfffbfffbfffbfff;
    case wire::DType::kF32:
    case wire::DType::kC64:
      return 0xbfffffffbfffffff;
    case wire::DType::kF64:
      return 0xbfffffffffffffff;
    default:
      return ~uint64_t{0};
  }
}

void WriteAll(int fd, const char* bytes, size_t count, const std::string& path) {
  while (count > 0) {
    const ssize_t written = ::write(fd, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) Fail("cannot write " + path + ": " + ::strerror(errno));
    bytes += written;
    count -= static_cast<size_t>(written);
  }
}

}  // namespace

uint64_t TensorSpec::size_bytes() const {
  const auto bytes = wire::ContiguousBytes(dtype, shape);
  if (!bytes) Fail("tensor " + name + " has no size");
  return *bytes;
}

uint64_t CheckpointSpec::tensor_bytes() const {
  uint64_t total = 0;
  for (const TensorSpec& tensor : tensors) total += tensor.size_bytes();
  return total;
}

CheckpointSpec LargeSpec(uint64_t total_bytes, int count, uint64_t seed) {
  constexpr int64_t kRow = 1024;  // elements: 4 KiB
  CheckpointSpec spec{.tensors = {}, .seed = seed};
  const int64_t rows = std::max<int64_t>(1, static_cast<int64_t>(total_bytes / (kRow * 4) / count));
  for (int i = 0; i < count; ++i) {
    spec.tensors.push_back(
        {"layer." + std::to_string(i) + ".weight", wire::DType::kF32, {rows, kRow}});
  }
  return spec;
}

CheckpointSpec SmallSpec(uint64_t seed) {
  using wire::DType;
  return {.tensors = {{"embed.weight", DType::kF32, {64, 128}},
                      {"encoder.0.weight", DType::kBF16, {128, 128}},
                      {"encoder.0.bias", DType::kF16, {128}},
                      {"encoder.1.weight", DType::kI8, {128, 64}},
                      {"empty", DType::kF32, {0, 4}},
                      {"position_ids", DType::kI64, {1, 512}},
                      {"scale", DType::kF64, {}},
                      {"mask", DType::kBool, {24}}},
          .metadata = {{"format", "pt"}},
          .seed = seed};
}

void TensorContent(const CheckpointSpec& spec, size_t index, uint64_t offset,
                   std::span<std::byte> bytes) {
  const TensorSpec& tensor = spec.tensors.at(index);
  const uint64_t mask = Mask(tensor.dtype);
  const uint64_t origin =
      tensor.seed != 0 ? tensor.seed * 0x9e3779b97f4a7c15 : spec.seed * 0x9e3779b97f4a7c15 + index;
  const uint64_t start = Mix(origin) + offset / 8;
  size_t done = 0;
  for (; done + 8 <= bytes.size(); done += 8) {
    const uint64_t word = Mix(start + done / 8) & mask;
    ::memcpy(bytes.data() + done, &word, 8);
  }
  const uint64_t word = Mix(start + done / 8) & mask;
  ::memcpy(bytes.data() + done, &word, bytes.size() - done);
}

std::string TensorBytes(const CheckpointSpec& spec, size_t index) {
  std::string bytes(spec.tensors.at(index).size_bytes(), '\0');
  TensorContent(spec, index, 0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

std::string SafetensorsHeader(const CheckpointSpec& spec) {
  // Written by hand: nlohmann's ordered object looks through all of itself for each name.
  std::string text = "{";
  const auto add = [&text](const std::string& key, const nlohmann::ordered_json& value) {
    if (text.size() > 1) text += ',';
    text += nlohmann::json(key).dump() + ':' + value.dump();
  };
  if (!spec.metadata.empty()) add("__metadata__", spec.metadata);
  uint64_t offset = 0;
  for (const TensorSpec& tensor : spec.tensors) {
    const uint64_t end = offset + tensor.size_bytes();
    add(tensor.name, {{"dtype", wire::DTypeName(tensor.dtype)},
                      {"shape", tensor.shape},
                      {"data_offsets", {offset, end}}});
    offset = end;
  }
  text += '}';
  while ((8 + text.size()) % spec.data_alignment != spec.data_shift % spec.data_alignment) {
    text += ' ';
  }
  const uint64_t length = text.size();
  std::string bytes(8, '\0');
  ::memcpy(bytes.data(), &length, 8);
  return bytes + text;
}

std::string WriteCheckpoint(const std::string& path, const CheckpointSpec& spec) {
  const wire::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) Fail("cannot create " + path + ": " + ::strerror(errno));
  const std::string header = SafetensorsHeader(spec);
  WriteAll(fd.get(), header.data(), header.size(), path);
  std::vector<std::byte> buffer(kBufferBytes);
  for (size_t index = 0; index < spec.tensors.size(); ++index) {
    const uint64_t size = spec.tensors[index].size_bytes();
    for (uint64_t offset = 0; offset < size; offset += kBufferBytes) {
      const auto part = std::span(buffer).first(std::min<uint64_t>(kBufferBytes, size - offset));
      TensorContent(spec, index, offset, part);
      WriteAll(fd.get(), reinterpret_cast<const char*>(part.data()), part.size(), path);
    }
  }
  return path;
}

}  // namespace modeld::test
