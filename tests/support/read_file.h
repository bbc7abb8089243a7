// What a test finds in a file.

#pragma once

#include <fstream>
#include <iterator>
#include <string>

namespace modeld::test {

// All bytes of it, also of one in /proc; empty if it cannot be read.
inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace modeld::test
