// A directory of a test's own.

#pragma once

#include <string>
#include <string_view>

namespace modeld::test {

// Made under /tmp with a short name (socket paths are limited to 107 bytes), mode 0700; removed
// with all it holds by the destructor. Failing to make one ends the test program.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  // Writes a file (parents are made) and returns its path.
  std::string Write(std::string_view name, std::string_view bytes) const;
  // Makes a directory (parents too) and returns its path.
  std::string Mkdir(std::string_view name) const;
  // Makes a symlink with this target and returns its path.
  std::string Symlink(std::string_view target, std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace modeld::test
