// Makes calls of chosen programs fail while they run.
//
//   FaultInjector faults;
//   DaemonFixture daemon(faults.For());
//   faults.Inject({.call = faults::Call::kPread, .error = EIO, .program = kHostAgent});
//   ...
//   faults.Clear();
//
// By way of a library that the daemon is started with (LD_PRELOAD) and its agents and parsers
// inherit. Not in builds with a sanitizer, whose own library has to come first.

#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/daemon_fixture.h"
#include "support/faults/table.h"
#include "support/temp_dir.h"
#include "wire/memfd.h"

namespace modeld::test {

inline constexpr char kDaemon[] = "modeld";
inline constexpr char kHostAgent[] = "modeld-agent-host";
inline constexpr char kParser[] = "modeld-parser";

struct Fault {
  faults::Call call = faults::Call::kNone;
  int error = 0;  // errno; 0: no error, but a pread gives `most_bytes` at most
  uint64_t most_bytes = 0;
  uint64_t least_bytes = 0;  // calls for fewer are let through
  std::string program = {};  // empty: each
  std::string path = {};  // part of the file's name; not in the parser, whose sandbox hides names
  uint64_t after = 0;     // so many are let through first
  uint64_t every = 1;     // of those that follow, each of this number fails
  uint64_t times = std::numeric_limits<uint64_t>::max();
};

// Externally synchronised; outlives the processes.
class FaultInjector {
 public:
  FaultInjector();

  // NAME=value, for a process that is to fail.
  std::vector<std::string> Environment() const;
  // `options` for a daemon that is.
  DaemonOptions For(DaemonOptions options = {}) const;

  // From now on, besides what fails already. At most faults::Table::kRules at once.
  void Inject(const Fault& fault);
  // Nothing fails any more, and the clock is right.
  void Clear();
  // How many calls failed, or were cut short, since Clear.
  uint64_t hits() const;

  // The wall clock is wrong by so much.
  void ShiftWallClock(std::chrono::nanoseconds shift);

 private:
  faults::Table& table() const { return *reinterpret_cast<faults::Table*>(mapping_.data()); }

  TempDir dir_;
  wire::Mapping mapping_;
};

}  // namespace modeld::test
