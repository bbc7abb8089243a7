// UniqueFd, the mutex and checked arithmetic: what everything else stands on.

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <thread>
#include <vector>

#include "wire/checked.h"
#include "wire/mutex.h"
#include "wire/text.h"
#include "wire/unique_fd.h"

namespace modeld::wire {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

int OpenNull() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesWhatItOwns) {
  int raw = -1;
  {
    const UniqueFd fd(OpenNull());
    raw = fd.get();
    EXPECT_TRUE(fd.valid() && IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFd, MovesItsOwnership) {
  UniqueFd first(OpenNull());
  const int raw = first.get();
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): that is what is asked
  EXPECT_EQ(second.get(), raw);
  UniqueFd third(OpenNull());
  const int replaced = third.get();
  third = std::move(second);
  EXPECT_EQ(third.get(), raw);
  EXPECT_FALSE(IsOpen(replaced));
  EXPECT_TRUE(IsOpen(raw));
}

TEST(UniqueFd, GivesUpWhatIsReleased) {
  UniqueFd fd(OpenNull());
  const int raw = fd.release();
  EXPECT_FALSE(fd.valid());
  fd.reset();
  EXPECT_TRUE(IsOpen(raw));
  fd.reset(raw);
  fd.reset();
  EXPECT_FALSE(IsOpen(raw));
}

TEST(Checked, ArithmeticStopsAtTheLimit) {
  EXPECT_EQ(CheckedAdd(kMax - 1, 1), kMax);
  EXPECT_EQ(CheckedAdd(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedMul(uint64_t{1} << 32, uint64_t{1} << 31), uint64_t{1} << 63);
  EXPECT_EQ(CheckedMul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(CheckedAlignUp(0, 8), 0u);
  EXPECT_EQ(CheckedAlignUp(1, 8), 8u);
  EXPECT_EQ(CheckedAlignUp(8, 8), 8u);
  EXPECT_EQ(CheckedAlignUp(kMax - 6, 8), std::nullopt);
  EXPECT_EQ(AlignDown(15, 8), 8u);
}

TEST(Checked, RangesFitUpToTheLimit) {
  EXPECT_TRUE(RangeFits(0, 10, 10));
  EXPECT_TRUE(RangeFits(10, 0, 10));
  EXPECT_FALSE(RangeFits(11, 0, 10));
  EXPECT_FALSE(RangeFits(1, 10, 10));
  EXPECT_FALSE(RangeFits(kMax, 2, 10));
  EXPECT_FALSE(RangeFits(2, kMax, 10));
}

TEST(Mutex, AdmitsOneThreadAtATime) {
  Mutex mutex;
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) {
        const MutexLock lock(mutex);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 4000);
}

TEST(CondVar, WakesAWaiterAndLeavesTheMutexHeld) {
  Mutex mutex;
  CondVar changed;
  int state = 0;
  std::thread other([&] {
    const MutexLock lock(mutex);
    state = 1;
    changed.NotifyAll();
    while (state != 2) changed.Wait(mutex);
    state = 3;
    changed.NotifyOne();
  });
  {
    const MutexLock lock(mutex);
    while (state != 1) changed.Wait(mutex);
    state = 2;
    changed.NotifyOne();
    while (state != 3) changed.Wait(mutex);
  }
  other.join();
  EXPECT_EQ(state, 3);
}

TEST(CondVar, SaysWhenTheTimeIsOver) {
  Mutex mutex;
  CondVar never;
  const MutexLock lock(mutex);
  EXPECT_FALSE(never.WaitUntil(mutex, std::chrono::steady_clock::now()));
}

TEST(Text, JoinsViewsOfBothKinds) {
  EXPECT_EQ(StrCat(std::string_view("a"), 1, std::string("b"), absl::string_view("c"), "d"),
            "a1bcd");
  EXPECT_EQ(ToStd(ToAbsl("x")), "x");
}

}  // namespace
}  // namespace modeld::wire
