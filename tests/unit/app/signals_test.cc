#include "app/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

namespace modeld::app {
namespace {

TEST(StopSignals, AreWaitedForAndNotHandled) {
  StopSignals signals;
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  EXPECT_EQ(signals.Wait(), SIGTERM);
  ASSERT_EQ(::kill(::getpid(), SIGINT), 0);
  EXPECT_EQ(signals.Wait(base::SystemClock().Now() + std::chrono::minutes(1)), SIGINT);
}

TEST(StopSignals, WaitUntilTheDeadline) {
  StopSignals signals;
  EXPECT_EQ(signals.Wait(base::SystemClock().Now() + std::chrono::milliseconds(5)), std::nullopt);
  EXPECT_EQ(signals.Wait(base::SystemClock().Now() - std::chrono::seconds(1)), std::nullopt);
}

TEST(StopSignals, ReachTheWaiterWhileOtherThreadsRun) {
  StopSignals signals;
  std::thread sender([] { ::kill(::getpid(), SIGHUP); });
  EXPECT_EQ(signals.Wait(), SIGHUP);
  sender.join();
}

TEST(StopSignals, CanBeWokenWithoutOne) {
  StopSignals signals;
  signals.Wake();
  EXPECT_EQ(signals.Wait(), std::nullopt);
  std::thread waker([&] { signals.Wake(); });
  EXPECT_EQ(signals.Wait(), std::nullopt);
  waker.join();
  EXPECT_EQ(signals.Wait(base::SystemClock().Now()), std::nullopt);
}

TEST(StopSignals, LetAClosedPipeBeAnError) {
  StopSignals signals;
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  ::close(pipe[0]);
  EXPECT_EQ(::write(pipe[1], "x", 1), -1);
  ::close(pipe[1]);
}

}  // namespace
}  // namespace modeld::app
