// What every benchmark needs and none measures.

#pragma once

#include <errno.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace modeld::bench {

using Clock = std::chrono::steady_clock;

// What `run` takes for: there is nothing to measure on.
inline constexpr int kNothingToMeasure = 77;

// Ends the benchmark by way of RunBench: what was started and written until then is not left
// behind.
[[noreturn]] inline void Die(const std::string& what) { throw std::runtime_error(what); }

// What a benchmark's main does.
inline int RunBench(const std::function<int()>& bench) {
  try {
    return bench();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, error.what());
    return 1;
  }
}

inline void Check(const absl::Status& status) {
  if (!status.ok()) Die(status.ToString());
}

template <class T>
T OrDie(absl::StatusOr<T> result) {
  Check(result.status());
  return *std::move(result);
}

inline double Millis(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

inline double TimeMillis(const std::function<void()>& what) {
  const auto start = Clock::now();
  what();
  return Millis(Clock::now() - start);
}

inline double Seconds(const std::function<void()>& what) { return TimeMillis(what) / 1000; }

inline std::string Environment(const char* name, const std::string& otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

// Where large files are written.
inline std::string BenchDirectory() { return Environment("MODELD_BENCH_DIR", "/tmp"); }

// Of a large checkpoint, in bytes: $MODELD_BENCH_GIB, which may be a fraction.
inline uint64_t BenchBytes(double default_gib) {
  const double gib =
      std::atof(Environment("MODELD_BENCH_GIB", std::to_string(default_gib)).c_str());
  if (gib <= 0) Die("MODELD_BENCH_GIB is no number of GiB");
  return static_cast<uint64_t>(gib * (1 << 30));
}

}  // namespace modeld::bench
