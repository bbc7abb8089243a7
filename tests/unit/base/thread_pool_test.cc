#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace modeld::base {
namespace {

TEST(ThreadPool, RunsTasksAtTheSameTimeUpToItsSize) {
  ThreadPool pool("test", 2);
  std::latch both(2);  // passes only if two threads are in tasks at once
  std::latch done(2);
  for (int i = 0; i < 2; ++i) {
    pool.Post([&] {
      both.arrive_and_wait();
      done.count_down();
    });
  }
  done.wait();
}

TEST(ThreadPool, FinishesWhatWasPostedBeforeItStops) {
  std::atomic<int> ran = 0;
  ThreadPool pool("test", 1);
  for (int i = 0; i < 100; ++i) pool.Post([&] { ++ran; });
  pool.Stop();
  EXPECT_EQ(ran, 100);
  pool.Post([&] { ++ran; });
  pool.Stop();
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace modeld::base
