// A directory for large files.

#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "bench_tools.h"

namespace modeld::bench {

// In BenchDirectory(); removed with all it holds.
class BenchFolder {
 public:
  BenchFolder() : path_(BenchDirectory() + "/modeld-bench-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) Die("cannot make a directory in " + BenchDirectory());
  }
  ~BenchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  BenchFolder(const BenchFolder&) = delete;
  BenchFolder& operator=(const BenchFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace modeld::bench
