// How long work takes by itself, whatever else the machine does.

#pragma once

#include <gtest/gtest.h>

#include <ctime>

#include "support/sanitizer.h"

namespace modeld::test {

// What `work` returns. Its processor time, of all threads of this process, must stay below
// `seconds`: far above what it takes, and far below what it would take if it grew with the square
// of its input. Sanitizers may take what they like.
template <class Work>
auto WithinCpuSeconds(double seconds, const Work& work) {
  const std::clock_t start = std::clock();
  auto result = work();
  const double took = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  if (!kSanitized) {
    EXPECT_LT(took, seconds);
  }
  return result;
}

}  // namespace modeld::test
