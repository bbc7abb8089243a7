#include "support/temp_dir.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iostream>

namespace modeld::test {
namespace {

namespace fs = std::filesystem;

void MakeParents(const std::string& path) { fs::create_directories(fs::path(path).parent_path()); }

}  // namespace

TempDir::TempDir() {
  char path[] = "/tmp/mdXXXXXX";
  if (::mkdtemp(path) == nullptr) {
    std::cerr << "cannot make a directory under /tmp\n";
    std::abort();
  }
  path_ = path;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TempDir::Write(std::string_view name, std::string_view bytes) const {
  const std::string path = *this / name;
  MakeParents(path);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  if (!file) {
    std::cerr << "cannot write " << path << "\n";
    std::abort();
  }
  return path;
}

std::string TempDir::Mkdir(std::string_view name) const {
  const std::string path = *this / name;
  fs::create_directories(path);
  return path;
}

std::string TempDir::Symlink(std::string_view target, std::string_view name) const {
  const std::string path = *this / name;
  MakeParents(path);
  fs::create_symlink(target, path);
  return path;
}

}  // namespace modeld::test
