// GGUF files for tests: good ones, and ones that are not quite, with the byte at which each goes
// wrong.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "malformed_files.h"

namespace modeld::test {

// The pieces of a file, little-endian.
std::string GgufU32(uint32_t value);
std::string GgufU64(uint64_t value);
std::string GgufString(std::string_view text);
// Magic, version and counts.
std::string GgufStart(uint64_t tensors, uint64_t pairs, uint32_t version = 3);
// A key, a type, and the bytes of a value of that type.
std::string GgufPair(std::string_view key, uint32_t type, std::string_view value);
// `dims` innermost first, as in the file.
std::string GgufTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                       uint64_t offset);
// Up to a multiple of `alignment` with zeros.
std::string Padded(std::string bytes, size_t alignment = 32);

// A good file: two tensors (F32 [2, 3] and Q4_0 [2, 32]) and some metadata.
std::string GoodGguf();

// Every way to be malformed but truncation.
std::vector<MalformedFile> MalformedGgufFiles();

}  // namespace modeld::test
