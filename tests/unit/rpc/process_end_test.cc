#include "rpc/process_end.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace modeld::rpc {
namespace {

TEST(ProcessEnd, IsSeenFromTheMomentThatAProcessExits) {
  EXPECT_FALSE(IsEnding(::getpid()));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(0);
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(IsEnding(child)) << "it has exited, and nobody has waited for it";
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(IsEnding(child)) << "it is gone";
}

// Its sockets close before it can be waited for: what is asked then is what counts.
TEST(ProcessEnd, IsSeenByWhoeverSeesItsDescriptorsClose) {
  for (int i = 0; i < 50; ++i) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(pipe[0]);
      ::kill(::getpid(), SIGKILL);
    }
    ::close(pipe[1]);
    char byte = 0;
    ASSERT_EQ(::read(pipe[0], &byte, 1), 0);
    EXPECT_TRUE(IsEnding(child));
    ::close(pipe[0]);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  }
}

TEST(ProcessEnd, IsNotAssumedOfAProcessThatIsOutOfSight) { EXPECT_FALSE(IsEnding(0)); }

}  // namespace
}  // namespace modeld::rpc
