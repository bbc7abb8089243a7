// Does this call go wrong?

#pragma once

#include <cstdint>
#include <optional>

#include "support/faults/table.h"

namespace modeld::test::faults {

// What the process was told to share; null: nothing.
Table* SharedTable();

// What a call is about.
struct Subject {
  uint64_t size_bytes = 0;
  const char* name = nullptr;
  int fd = -1;  // its file's name is looked up when a rule asks for it
};

struct Failure {
  int error = 0;  // 0: do less
  uint64_t most_bytes = 0;
};

// Counts the call. No memory is allocated; any thread. errno is left as it was.
std::optional<Failure> FailureOf(Call call, const Subject& subject);

}  // namespace modeld::test::faults
