// What a test shares with the processes that it preloads libmodeld_test_faults.so into: which of
// their calls go wrong, and how often they did.
//
// A file that all of them map: asking it is no system call, so that it works in a sandbox too.

#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace modeld::test::faults {

// The file's path, for the library.
inline constexpr char kTableVariable[] = "MODELD_TEST_FAULTS";

enum class Call : int32_t {
  kNone,
  kPread,
  kWrite,
  kMemfdCreate,
  kFtruncate,
  kMmap,
  kMadvise,
  kClone
};

struct Rule {
  std::atomic<Call> call;  // kNone: not in force. Set last
  int32_t error;           // errno; 0: a short count
  uint64_t most_bytes;     // of a short count
  uint64_t least_bytes;    // calls for fewer are let through
  uint64_t after;          // so many matching calls are let through first
  uint64_t every;          // of those that follow, each of this number fails
  uint64_t times;          // so often at most
  char program[32];        // as program_invocation_short_name has it; empty: each
  char path[96];           // part of the file's name; empty: each
  std::atomic<uint64_t> seen;
  std::atomic<uint64_t> hits;
};

// As a new file of this size has it (zeroes), nothing fails.
struct Table {
  static constexpr int kRules = 8;

  std::atomic<int64_t> wall_shift_nanos;  // by which CLOCK_REALTIME is wrong
  Rule rules[kRules];
};
static_assert(std::is_trivially_destructible_v<Table>);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace modeld::test::faults
