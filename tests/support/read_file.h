// What a test finds in a file.

#pragma once

#include <fstream>
#include <sstream>
#include <string>

namespace modeld::test {

// All bytes of it, also of one in /proc; what there was before an error (the process has ended),
// and nothing if it cannot be opened.
inline std::string ReadFile(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

}  // namespace modeld::test
