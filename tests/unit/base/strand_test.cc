#include "base/strand.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace modeld::base {
namespace {

TEST(Strand, RunsATaskOnTheCallerWhenIdle) {
  Strand strand;
  std::thread::id ran_on;
  strand.Post([&] { ran_on = std::this_thread::get_id(); });
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST(Strand, RunsWhatATaskPostsAfterThatTask) {
  Strand strand;
  std::vector<int> order;
  strand.Post([&] {
    strand.Post([&] { order.push_back(2); });
    order.push_back(1);
  });
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Strand, NeverRunsTwoTasksAtOnceAndLosesNone) {
  Strand strand;
  int unguarded = 0;  // TSan would see two threads in here
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) strand.Post([&] { ++unguarded; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(unguarded, 20000);
}

TEST(Strand, LetsACapturesDestructorPost) {
  Strand strand;
  struct Poster {
    Strand* strand;
    int* posted;
    ~Poster() {
      strand->Post([posted = posted] { ++*posted; });
    }
  };
  int posted = 0;
  strand.Post([poster = std::make_shared<Poster>(Poster{&strand, &posted})] {});
  EXPECT_GE(posted, 1);
}

}  // namespace
}  // namespace modeld::base
