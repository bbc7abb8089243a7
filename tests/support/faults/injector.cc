#include "support/faults/injector.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <span>

namespace modeld::test {
namespace {

void Copy(const std::string& text, std::span<char> out) {
  ASSERT_LT(text.size(), out.size());
  ::memcpy(out.data(), text.c_str(), text.size() + 1);
}

}  // namespace

FaultInjector::FaultInjector() {
  const std::string path = dir_.Write("table", std::string(sizeof(faults::Table), '\0'));
  const wire::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  void* const table =
      ::mmap(nullptr, sizeof(faults::Table), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (table == MAP_FAILED) {
    ADD_FAILURE() << "cannot map " << path << ": " << ::strerror(errno);
    return;
  }
  mapping_ = wire::Mapping(table, sizeof(faults::Table));
}

std::vector<std::string> FaultInjector::Environment() const {
  return {"LD_PRELOAD=" + TestProgram("libmodeld_test_faults.so", MODELD_TEST_FAULTS_LIBRARY),
          std::string(faults::kTableVariable) + "=" + (dir_ / "table")};
}

DaemonOptions FaultInjector::For(DaemonOptions options) const {
  for (const std::string& variable : Environment()) options.env.push_back(variable);
  return options;
}

void FaultInjector::Inject(const Fault& fault) {
  const auto rule = std::ranges::find_if(
      table().rules, [](const auto& each) { return each.call == faults::Call::kNone; });
  ASSERT_NE(rule, std::end(table().rules)) << "too many faults at once";
  rule->error = fault.error;
  rule->most_bytes = fault.most_bytes;
  rule->least_bytes = fault.least_bytes;
  rule->after = fault.after;
  rule->every = fault.every;
  rule->times = fault.times;
  Copy(fault.program, rule->program);
  Copy(fault.path, rule->path);
  rule->seen = 0;
  rule->hits = 0;
  rule->call.store(fault.call, std::memory_order_release);
}

void FaultInjector::Clear() {
  for (faults::Rule& rule : table().rules) {
    rule.call = faults::Call::kNone;
    rule.hits = 0;
  }
  ShiftWallClock({});
}

uint64_t FaultInjector::hits() const {
  uint64_t sum = 0;
  for (const faults::Rule& rule : table().rules) sum += rule.hits;
  return sum;
}

void FaultInjector::ShiftWallClock(std::chrono::nanoseconds shift) {
  table().wall_shift_nanos = shift.count();
}

}  // namespace modeld::test
