#include "app/signals.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace modeld::app {
namespace {

TEST(Signals, AreWaitedForAndNotHandled) {
  Signals signals;
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  EXPECT_EQ(signals.Wait(), (Signals::Received{Request::kStop, SIGTERM}));
  ASSERT_EQ(::kill(::getpid(), SIGINT), 0);
  EXPECT_EQ(signals.Wait(base::SystemClock().Now() + std::chrono::minutes(1)),
            (Signals::Received{Request::kStop, SIGINT}));
  ASSERT_EQ(::kill(::getpid(), SIGUSR2), 0);
  EXPECT_EQ(signals.Wait(), (Signals::Received{Request::kHandOver, SIGUSR2}));
}

// As `systemctl reload` sends it; the same signal from the kernel means that a terminal went.
TEST(Signals, ReloadWhenAProcessSendsAHangup) {
  Signals signals;
  ASSERT_EQ(::kill(::getpid(), SIGHUP), 0);
  EXPECT_EQ(signals.Wait(), (Signals::Received{Request::kReload, SIGHUP}));
}

TEST(Signals, StopWhenTheTerminalGoesAway) {
  Signals signals;
  // A session of its own with a terminal, whose other end is closed.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (::setsid() < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0 ||
        ::open(::ptsname(master), O_RDWR) < 0) {
      ::_exit(2);
    }
    ::close(master);
    const auto received = signals.Wait(base::SystemClock().Now() + std::chrono::seconds(30));
    ::_exit(received == Signals::Received{Request::kStop, SIGHUP} ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Signals, WaitUntilTheDeadline) {
  Signals signals;
  EXPECT_EQ(signals.Wait(base::SystemClock().Now() + std::chrono::milliseconds(5)), std::nullopt);
  EXPECT_EQ(signals.Wait(base::SystemClock().Now() - std::chrono::seconds(1)), std::nullopt);
}

TEST(Signals, ReachTheWaiterWhileOtherThreadsRun) {
  Signals signals;
  std::thread sender([] { ::kill(::getpid(), SIGHUP); });
  EXPECT_EQ(signals.Wait(), (Signals::Received{Request::kReload, SIGHUP}));
  sender.join();
}

TEST(Signals, CanBeWokenWithoutOne) {
  Signals signals;
  signals.Wake();
  EXPECT_EQ(signals.Wait(), std::nullopt);
  std::thread waker([&] { signals.Wake(); });
  EXPECT_EQ(signals.Wait(), std::nullopt);
  waker.join();
  EXPECT_EQ(signals.Wait(base::SystemClock().Now()), std::nullopt);
}

TEST(Signals, LetAClosedPipeBeAnError) {
  Signals signals;
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  ::close(pipe[0]);
  EXPECT_EQ(::write(pipe[1], "x", 1), -1);
  ::close(pipe[1]);
}

}  // namespace
}  // namespace modeld::app
