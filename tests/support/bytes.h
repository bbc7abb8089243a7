// Sizes for tests.

#pragma once

#include <cstdint>

namespace modeld::test {

inline constexpr uint64_t kMiB = 1 << 20;

}  // namespace modeld::test
