// Files that are not quite safetensors, with the byte at which each goes wrong.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace modeld::test {

// Length, header and `data_bytes` bytes of data.
std::string SafetensorsFile(std::string_view header, size_t data_bytes);

struct MalformedFile {
  std::string name;   // of the case
  std::string bytes;  // the file's start
  // Length of the file; what `bytes` does not hold is a hole. Shows what a reader allocates on a
  // file's word alone.
  uint64_t size_bytes = 0;
  uint64_t byte = 0;   // at which the reader shall say that it goes wrong
  std::string words;   // that the message shall have
  std::string tensor;  // that the error shall name; empty: none
};

// Every way to be malformed but truncation.
std::vector<MalformedFile> MalformedFiles();

// A small good file cut off after every byte but the last.
std::vector<MalformedFile> TruncatedFiles();

// Writes it and returns `path`.
std::string WriteFile(const std::string& path, const MalformedFile& file);

}  // namespace modeld::test
