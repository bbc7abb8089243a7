// What was done to the manager, and the first promise that it broke.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"

namespace modeld::residency::model {

// All that is left to chance, from one seed.
class Chance {
 public:
  explicit Chance(uint64_t seed) : engine_(seed) {}

  // 0 to count - 1. REQUIRES: count > 0
  size_t Below(size_t count) { return engine_() % count; }
  bool Percent(unsigned percent) { return Below(100) < percent; }

 private:
  std::mt19937_64 engine_;
};

class Journal {
 public:
  static constexpr size_t kKept = 80;

  void Note(std::string operation) {
    ++step_;
    operations_.push_back(std::move(operation));
    if (operations_.size() > kKept) operations_.pop_front();
  }
  // What the last operation led to.
  void Add(const std::string& consequence) {
    if (!operations_.empty()) absl::StrAppend(&operations_.back(), "; ", consequence);
  }
  // Only the first one counts: what follows may follow from it.
  void Broken(const std::string& promise) {
    if (broken_.empty()) broken_ = absl::StrCat("step ", step_, ": ", promise);
  }

  uint64_t step() const { return step_; }
  bool is_broken() const { return !broken_.empty(); }
  std::string Report() const {
    std::string report = absl::StrCat(broken_, "\nthe last operations:\n");
    uint64_t step = step_ - operations_.size();
    for (const std::string& operation : operations_) {
      absl::StrAppend(&report, "  ", ++step, ": ", operation, "\n");
    }
    return report;
  }

 private:
  uint64_t step_ = 0;
  std::deque<std::string> operations_;
  std::string broken_;
};

}  // namespace modeld::residency::model
