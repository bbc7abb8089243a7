#include "gguf_files.h"

#include <cstring>
#include <utility>

namespace modeld::test {
namespace {

enum Type : uint32_t { kU8 = 0, kU32 = 4, kF32 = 6, kBool = 7, kString = 8, kArray = 9 };
enum Ggml : uint32_t { kGgmlF32 = 0, kGgmlQ4_0 = 2 };

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

// It goes wrong where `before` ends.
MalformedFile At(std::string name, std::string before, const std::string& rest, std::string words,
                 std::string tensor = {}) {
  const uint64_t byte = before.size();
  std::string bytes = std::move(before) + rest;
  const uint64_t size = bytes.size();
  return {.name = std::move(name),
          .bytes = std::move(bytes),
          .size_bytes = size,
          .byte = byte,
          .words = std::move(words),
          .tensor = std::move(tensor)};
}

std::string Key(std::string_view key, uint32_t type) { return GgufString(key) + GgufU32(type); }

void AddStarts(std::vector<MalformedFile>& files) {
  files.push_back(At("another magic", "", "GGUX" + std::string(20, '\0'), "start with \"GGUF\""));
  files.push_back(At("a web page", "", "<!DOCTYPE html><html>", "start with \"GGUF\""));
  files.push_back(At("version 0", "GGUF", GgufU32(0) + std::string(16, '\0'), "version 0"));
  files.push_back(At("2^63 tensors", "GGUF" + GgufU32(3), GgufU64(uint64_t{1} << 63) + GgufU64(0),
                     "more than 1000000"));
  files.push_back(At("2^64 - 1 pairs", "GGUF" + GgufU32(3) + GgufU64(0), GgufU64(UINT64_MAX),
                     "metadata pairs, more than"));
  files.push_back(
      At("more tensors than are there", GgufStart(1'000'000, 0), "", "a tensor's name"));
  files.push_back(At("more pairs than are there", GgufStart(0, 100'000), "", "ends within a key"));
}

void AddPairs(std::vector<MalformedFile>& files) {
  const auto one = [&files](std::string name, std::string before, const std::string& rest,
                            std::string words) {
    files.push_back(
        At(std::move(name), GgufStart(0, 1) + std::move(before), rest, std::move(words)));
  };
  one("an empty key", "", GgufPair("", kU8, "x"), "a key of 0 bytes");
  one("a key of 65536 bytes", "", GgufPair(std::string(65'536, 'k'), kU8, "x"),
      "a key of 65536 bytes");
  one("a key that is not UTF-8", GgufU64(2), "\xff\xfe" + GgufU32(kU8) + "x", "not UTF-8");
  one("a value of type 13", GgufString("k"), GgufU32(13) + std::string(8, '\0'), "unknown type 13");
  one("a value of type 2^32 - 1", GgufString("k"), GgufU32(UINT32_MAX), "unknown type 4294967295");
  one("a bool of 2", Key("k", kBool), "\2", "neither 0 nor 1");
  one("an array of type 77", Key("k", kArray), GgufU32(77) + GgufU64(0), "unknown type 77");
  one("an array of 2^64 - 1 bytes", Key("k", kArray) + GgufU32(kU8), GgufU64(UINT64_MAX),
      "in a file of");
  one("an array of 2^61 strings", Key("k", kArray) + GgufU32(kString), GgufU64(uint64_t{1} << 61),
      "in a file of");
  one("an array of bools with a 3", Key("k", kArray) + GgufU32(kBool) + GgufU64(2) + "\1", "\3",
      "neither 0 nor 1");
  std::string nested;
  for (int i = 0; i < 8; ++i) nested += GgufU32(kArray) + GgufU64(1);
  one(
      "arrays nested 100 deep", Key("k", kArray) + nested,
      [] {
        std::string more;
        for (int i = 0; i < 92; ++i) more += GgufU32(kArray) + GgufU64(1);
        return more + GgufU32(kU8) + GgufU64(0);
      }(),
      "nested more than 8 levels");
  one("an alignment that is a u8", GgufString("general.alignment"), GgufU32(kU8) + "\x20",
      "must be a u32");
  one("an alignment of 0", Key("general.alignment", kU32), GgufU32(0), "no power of two");
  one("an alignment of 48", Key("general.alignment", kU32), GgufU32(48), "no power of two");
  files.push_back(At("one key twice", GgufStart(0, 2) + GgufPair("k", kU8, "1") + GgufU64(1),
                     "k" + GgufU32(kU8) + "2", "a second key \"k\""));
}

void AddTensors(std::vector<MalformedFile>& files) {
  const auto one = [&files](std::string name, std::string before, const std::string& rest,
                            std::string words) {
    const std::string start = GgufStart(1, 0) + GgufString("t");
    files.push_back(At(std::move(name), start + std::move(before), rest, std::move(words), "t"));
  };
  files.push_back(At("a tensor's name that is not UTF-8", GgufStart(1, 0) + GgufU64(1),
                     "\xff" + GgufU32(0) + GgufU32(0) + GgufU64(0), "not UTF-8"));
  one("5 dimensions", "", GgufU32(5) + std::string(52, '\1'), "more than the 4");
  one("2^32 - 1 dimensions", "", GgufU32(UINT32_MAX), "more than the 4");
  one("a dimension of 2^63", GgufU32(1), GgufU64(uint64_t{1} << 63) + GgufU32(0) + GgufU64(0),
      "does not fit 63 bits");
  one("a shape that overflows", "",
      GgufU32(3) + GgufU64(uint64_t{1} << 31) + GgufU64(uint64_t{1} << 31) + GgufU64(4) +
          GgufU32(kGgmlF32) + GgufU64(0),
      "too large for 64 bits");
  one("a row of half a block", "",
      GgufU32(2) + GgufU64(16) + GgufU64(2) + GgufU32(kGgmlQ4_0) + GgufU64(0),
      "whole blocks of 32");
  one("a scalar of blocks", "", GgufU32(0) + GgufU32(kGgmlQ4_0) + GgufU64(0), "whole blocks");
  one("an offset of 8", GgufU32(1) + GgufU64(1) + GgufU32(kGgmlF32), GgufU64(8),
      "no multiple of the alignment");
  one("an offset past the end", GgufU32(1) + GgufU64(1) + GgufU32(kGgmlF32),
      GgufU64(uint64_t{1} << 62) + std::string(32, '\0'), "leaves a hole");
  const std::string short_by_one = GgufStart(1, 0) + GgufTensor("t", {9}, kGgmlF32, 0);
  files.push_back(At("data that is 4 bytes short", short_by_one.substr(0, short_by_one.size() - 8),
                     Padded(short_by_one).substr(short_by_one.size() - 8) + std::string(32, 'd'),
                     "go past the end of the file", "t"));
  const std::string first = GgufStart(2, 0) + GgufTensor("a", {8}, kGgmlF32, 0);
  const auto second = [&](std::string name, uint64_t offset, std::string words, size_t data_bytes) {
    const std::string head = first + GgufTensor("t", {8}, kGgmlF32, offset);
    files.push_back(At(std::move(name), head.substr(0, head.size() - 8),
                       Padded(head).substr(head.size() - 8) + std::string(data_bytes, 'd'),
                       std::move(words), "t"));
  };
  second("tensors that overlap", 0, "overlaps what ends at byte 32", 64);
  second("a hole between tensors", 64, "leaves a hole behind what ends at byte 32", 96);
  const std::string twice = first + GgufU64(1);
  files.push_back(At("two tensors of one name", twice,
                     Padded(first + GgufTensor("a", {8}, kGgmlF32, 32)).substr(twice.size()) +
                         std::string(64, 'd'),
                     "a second tensor of this name", "a"));
  const std::string whole =
      Padded(GgufStart(1, 0) + GgufTensor("t", {8}, kGgmlF32, 0)) + std::string(32, 'd');
  files.push_back(At("bytes behind the last tensor", whole, "x", "goes on for 1 bytes"));
  files.push_back(At("bytes behind a file without tensors", GgufStart(0, 0), std::string(40, 'x'),
                     "goes on for 40 bytes"));
}

void AddSizes(std::vector<MalformedFile>& files) {
  // What a reader allocates on a file's word alone.
  MalformedFile key = At("a key of 8 GB that is there", GgufStart(0, 1) + GgufU64(8'000'000'000),
                         "", "more than 100000000");
  key.size_bytes = 9'000'000'000;
  files.push_back(key);
  MalformedFile array = At("an array of 200 MB that is there",
                           GgufStart(0, 1) + Key("k", kArray) + GgufU32(kU8) + GgufU64(200'000'000),
                           "", "more than 100000000");
  array.size_bytes = 300'000'000;
  files.push_back(array);
  MalformedFile zeros = At("a million pairs of nothing", GgufStart(0, 100'000), "", "a key of 0");
  zeros.size_bytes = 90'000'000;
  files.push_back(zeros);
  files.push_back(At("a string of 2^64 - 1 bytes",
                     GgufStart(0, 1) + Key("k", kString) + GgufU64(UINT64_MAX), "",
                     "ends within a string"));
}

}  // namespace

std::string GgufU32(uint32_t value) { return Raw(value); }
std::string GgufU64(uint64_t value) { return Raw(value); }
std::string GgufString(std::string_view text) { return Raw(uint64_t{text.size()}).append(text); }

std::string GgufStart(uint64_t tensors, uint64_t pairs, uint32_t version) {
  return "GGUF" + Raw(version) + Raw(tensors) + Raw(pairs);
}

std::string GgufPair(std::string_view key, uint32_t type, std::string_view value) {
  return (GgufString(key) + Raw(type)).append(value);
}

std::string GgufTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                       uint64_t offset) {
  std::string bytes = GgufString(name) + Raw(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) bytes += Raw(dim);
  return bytes + Raw(type) + Raw(offset);
}

std::string Padded(std::string bytes, size_t alignment) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  return bytes;
}

std::string GoodGguf() {
  std::string bytes = GgufStart(2, 4);
  bytes += GgufPair("general.architecture", kString, GgufString("llama"));
  bytes += GgufPair("llama.block_count", kU32, GgufU32(2));
  bytes += GgufPair("llama.rope.freq_base", kF32, Raw(10000.5f));
  bytes += GgufPair("tokenizer.ggml.tokens", kArray,
                    GgufU32(kString) + GgufU64(2) + GgufString("a") + GgufString("b"));
  bytes += GgufTensor("dense.weight", {3, 2}, kGgmlF32, 0);
  bytes += GgufTensor("quantized.weight", {32, 2}, kGgmlQ4_0, 32);
  bytes = Padded(std::move(bytes));
  for (int i = 0; i < 24; ++i) bytes += static_cast<char>(i);
  bytes = Padded(std::move(bytes));
  for (int i = 0; i < 36; ++i) bytes += static_cast<char>(100 + i);
  return bytes;
}

std::vector<MalformedFile> MalformedGgufFiles() {
  std::vector<MalformedFile> files;
  AddStarts(files);
  AddPairs(files);
  AddTensors(files);
  AddSizes(files);
  return files;
}

}  // namespace modeld::test
