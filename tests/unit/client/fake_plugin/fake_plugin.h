// A libmodeld-cuda without CUDA: two GPUs whose memory is that of memfds. A test that links it has
// it in place of the real one; a program gets it by LD_PRELOAD.

#pragma once

#include <atomic>
#include <string>

namespace modeld::testing {

inline constexpr char kGpuA[] = "GPU-aaaa0000-1111-2222-3333-444444444444";  // cuda:0
inline constexpr char kGpuB[] = "GPU-aabb0000-1111-2222-3333-444444444444";  // cuda:1

struct FakePlugin {
  // ---- what it does
  std::atomic<int> current{0};
  // Maps so many segments, then fails; negative: never.
  std::atomic<int> failing_after{-1};
  std::string failure = "BUDGET_EXCEEDED";  // the reason, then

  // ---- what happened
  std::atomic<int> mapped{0};
  std::atomic<int> unmapped{0};
  std::atomic<int> last_ordinal{-1};
  std::atomic<int> last_peer{-1};
};

__attribute__((visibility("default"))) FakePlugin& GetFakePlugin();

}  // namespace modeld::testing
