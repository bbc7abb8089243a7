// GPUs for a daemon, its agents and its workers: those of tests/fake_cudart, or the machine's.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/daemon_fixture.h"
#include "support/temp_dir.h"
#include "wire/unique_fd.h"

namespace modeld::test {

// Of tests/fake_cudart: their UUIDs are nobody else's, so that tests can run side by side, and
// their new memory is full of garbage. With MODELD_TEST_REAL_GPUS in the environment
// (tests/gpu/run): those that CUDA shows. Externally synchronised.
class TestGpus {
 public:
  explicit TestGpus(int count = 2, const std::string& memory = "1GiB");

  // False where there was no CUDA toolkit to build with: then none of this works.
  static bool Available();

  // Can they be made to fail, and does every byte of them belong to the test?
  bool simulated() const { return simulated_; }
  // What FreeBytes may differ by although nothing is left.
  uint64_t SlackBytes() const { return simulated_ ? 0 : 64 << 20; }

  // `GPU-...`
  const std::string& operator[](size_t index) const { return uuids_[index]; }

  // One more variable (NAME=value) for all processes that start from now on.
  void Set(const std::string& variable) { more_.push_back(variable); }

  // NAME=value, for a process that is to see them.
  std::vector<std::string> Environment() const;
  // `options` for a daemon that sees them.
  DaemonOptions For(DaemonOptions options = {}) const;

  // What CUDA says is free on it, asked by a process that makes a context and ends. What takes
  // memory for no longer than that is not in the figure: only compare it with another such.
  uint64_t FreeBytes(size_t index) const;

  // The following REQUIRE simulated().
  //
  // What fails from now on, in every process (tests/fake_cudart/README.md); empty: nothing.
  void SetFaults(const std::string& lines);
  // As if a process that has nothing to do with modeld had allocated so much, until the descriptor
  // is closed.
  wire::UniqueFd Occupy(size_t index, uint64_t bytes) const;

  // How many events so far begin with `text`, of all processes: `h2d`, `context_created GPU-...`.
  size_t CountEvents(const std::string& text) const;

 private:
  std::string AskForMemory() const;

  TempDir dir_;
  bool simulated_ = true;
  const std::string memory_;
  std::vector<std::string> uuids_;
  std::vector<std::string> more_;
};

}  // namespace modeld::test
