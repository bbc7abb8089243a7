// GPUs that are none: tests/fake_cudart for a daemon, its agents and its workers.

#pragma once

#include <string>
#include <vector>

#include "support/daemon_fixture.h"
#include "support/temp_dir.h"

namespace modeld::test {

// Their UUIDs are nobody else's, so that tests can run side by side. Their new memory is full of
// garbage. Externally synchronised.
class FakeGpus {
 public:
  explicit FakeGpus(int count = 2, const std::string& memory = "1GiB");

  // `GPU-...`
  const std::string& operator[](size_t index) const { return uuids_[index]; }

  // NAME=value, for a process that is to see them.
  std::vector<std::string> Environment() const;
  // `options` for a daemon that sees them.
  DaemonOptions For(DaemonOptions options = {}) const;

  // What fails from now on, in every process (tests/fake_cudart/README.md); empty: nothing.
  void SetFaults(const std::string& lines);
  // How many events so far begin with `text`, of all processes: `h2d`, `context_created GPU-...`.
  size_t CountEvents(const std::string& text) const;

 private:
  TempDir dir_;
  const std::string memory_;
  std::vector<std::string> uuids_;
};

}  // namespace modeld::test
