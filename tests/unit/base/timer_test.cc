#include "base/timer.h"

#include <gtest/gtest.h>

#include <latch>
#include <vector>

#include "base/manual_clock.h"

namespace modeld::base {
namespace {

TEST(ThreadTimer, RunsTasksInTheOrderOfTheirTimes) {
  ThreadTimer timer;
  std::vector<int> order;
  std::latch done(2);
  const TimePoint now = std::chrono::steady_clock::now();
  timer.At(now + std::chrono::milliseconds(20), [&] {
    order.push_back(2);
    done.count_down();
  });
  timer.At(now + std::chrono::milliseconds(5), [&] {
    order.push_back(1);
    done.count_down();
  });
  done.wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(ThreadTimer, NeverRunsWhatWasCancelled) {
  bool ran = false;
  {
    ThreadTimer timer;
    const TimerId id =
        timer.At(std::chrono::steady_clock::now() + std::chrono::hours(1), [&] { ran = true; });
    EXPECT_TRUE(timer.Cancel(id));
    EXPECT_FALSE(timer.Cancel(id));
  }
  EXPECT_FALSE(ran);
}

TEST(ManualClock, RunsTasksOnlyWhenTimeReachesThem) {
  ManualClock clock;
  std::vector<int> order;
  clock.At(clock.Now() + std::chrono::seconds(2), [&] { order.push_back(2); });
  clock.At(clock.Now() + std::chrono::seconds(1), [&] { order.push_back(1); });
  clock.Advance(std::chrono::milliseconds(999));
  EXPECT_TRUE(order.empty());
  clock.Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(order, (std::vector<int>{1}));
  clock.Advance(std::chrono::seconds(5));
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_EQ(clock.pending_count(), 0u);
}

TEST(ManualClock, RunsATaskThatATaskSchedulesWithinTheSameAdvance) {
  ManualClock clock;
  int ran = 0;
  clock.At(clock.Now() + std::chrono::seconds(1),
           [&] { clock.At(clock.Now() + std::chrono::seconds(1), [&] { ++ran; }); });
  clock.Advance(std::chrono::seconds(3));
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace modeld::base
