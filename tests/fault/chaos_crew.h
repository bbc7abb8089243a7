// The workers of the chaos test, and what they say.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/child_process.h"
#include "wire/unique_fd.h"

namespace modeld::test {

// Processes of chaos_worker.cc. Externally synchronised; kills them when it goes.
class ChaosCrew {
 public:
  struct Figures {
    uint64_t acquired = 0;
    uint64_t checked_bytes = 0;
    uint64_t rounds = 0;
    std::chrono::microseconds longest_acquire{0};
    std::string longest_reference;
    // Why modeld could not, and how often.
    std::map<std::string, uint64_t> again;
  };

  // `environment`: NAME=value, for each.
  ChaosCrew(std::string endpoint, std::vector<std::string> environment, int size, unsigned seed);

  // All of them.
  void Start();

  // Takes in what they say until `deadline`. A worker that says what is wrong, that is silent for
  // too long, or that ended by itself is a failure: false.
  bool Listen(std::chrono::steady_clock::time_point deadline);

  // Of any of them. Words for the log.
  std::string KillOne();  // another one takes its place
  std::string StopOne(std::chrono::milliseconds duration);

  // No more disturbances: each does one round more and ends well, or false.
  bool Finish();

  const Figures& figures() const { return figures_; }
  // Rounds of the worker that has done the fewest since it started.
  uint64_t FewestRounds() const;
  // What each said last.
  std::string LastWords() const;

 private:
  struct Worker {
    base::ChildProcess process;
    wire::UniqueFd input;
    wire::UniqueFd output;
    std::string pending;
    std::string last_line;
    std::chrono::steady_clock::time_point last_time;
    uint64_t rounds = 0;
    bool stopped = false;
    bool ended = false;
    std::chrono::steady_clock::time_point stopped_until;
  };

  void Start(Worker& worker);
  void Continue(Worker& worker);
  // Lines that are there. False where one says that something is wrong.
  bool Take(Worker& worker);
  bool Note(Worker& worker, const std::string& line);

  const std::string endpoint_;
  const std::vector<std::string> environment_;
  std::mt19937 random_;
  std::vector<Worker> workers_;
  Figures figures_;
  bool finishing_ = false;
};

}  // namespace modeld::test
