// The fake machine of one test: its GPUs, which no other test has, and the environment of the
// processes in it.

#pragma once

#include <map>
#include <string>
#include <vector>

#include "support/temp_dir.h"

namespace fake_cudart_test {

class World {
 public:
  explicit World(const std::vector<std::string>& sizes = {"1GiB"});

  const std::string& uuid(size_t index) const { return uuids_[index]; }
  // Sets a variable for the processes that are started from here on.
  void Set(const std::string& name, const std::string& value) { variables_[name] = value; }
  std::vector<std::string> Environment() const;

  // Puts the faults in force, at once, for the processes that run too.
  void SetFaults(const std::string& lines) const;

  // Lines of the log that begin like this.
  size_t Logged(const std::string& beginning) const;

 private:
  modeld::test::TempDir dir_;
  std::vector<std::string> uuids_;
  std::map<std::string, std::string> variables_;
};

constexpr size_t kMiB = size_t{1} << 20;

}  // namespace fake_cudart_test
