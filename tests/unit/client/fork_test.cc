// Workers that fork, as separate processes; this one is their daemon.

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "scripted_daemon.h"

namespace modeld {
namespace {

using std::chrono::steady_clock;
using testing::ScriptedDaemon;

// A fork_helper with pipes to its stdin and from its stdout.
class Helper {
 public:
  Helper(const std::string& mode, const std::string& socket) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::string program = FORK_HELPER;
    std::string mode_argument = mode;
    std::string socket_argument = socket;
    char* argv[] = {program.data(), mode_argument.data(), socket_argument.data(), nullptr};
    if (posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ) != 0) abort();
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    in_ = in[1];
    out_ = fdopen(out[0], "r");
  }
  ~Helper() {
    if (pid_ > 0) Kill();
    if (in_ >= 0) close(in_);
    fclose(out_);
  }

  // A line, without its end; empty at the end of the output.
  std::string ReadLine() {
    char* line = nullptr;
    size_t capacity = 0;
    const ssize_t length = getline(&line, &capacity, out_);
    std::string result = length > 0 ? std::string(line, static_cast<size_t>(length) - 1) : "";
    free(line);
    return result;
  }
  void CloseStdin() {
    close(in_);
    in_ = -1;
  }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  FILE* out_ = nullptr;
};

TEST(Fork, EndsTheLeasesOfAKilledParentThoughItsChildLives) {
  ScriptedDaemon daemon;
  Helper helper("keep", daemon.socket_path());
  const std::string line = helper.ReadLine();
  int child = 0;
  char verdict[16] = "";
  ASSERT_EQ(sscanf(line.c_str(), "child %d %15s", &child, verdict), 2) << line;
  EXPECT_STREQ(verdict, "good") << "state, mapping, sockets and refusals in the child";
  ASSERT_EQ(daemon.calls_open(), 1);

  const auto killed = steady_clock::now();
  helper.Kill();
  ASSERT_TRUE(daemon.WaitForOpenCalls(0));
  EXPECT_LT(steady_clock::now() - killed, std::chrono::seconds(1));

  EXPECT_EQ(kill(child, 0), 0) << "the child is alive";
  helper.CloseStdin();
  EXPECT_EQ(helper.ReadLine(), "still readable");
}

TEST(Fork, LetsAChildExitWithoutHarmToTheParent) {
  ScriptedDaemon daemon;
  Helper helper("exit", daemon.socket_path());
  EXPECT_EQ(helper.ReadLine(), "good");
}

TEST(Fork, LeavesNoLiveConnectionInAChildThatIsForkedWhileOneIsMade) {
  ScriptedDaemon daemon;
  Helper helper("storm", daemon.socket_path());
  EXPECT_EQ(helper.ReadLine(), "good");
  EXPECT_GT(daemon.attach_connections(), 20);
}

TEST(Fork, LetsChildrenConnectWhoseParentNeverDid) {
  ScriptedDaemon daemon;
  Helper helper("late", daemon.socket_path());
  EXPECT_EQ(helper.ReadLine(), "good");
  EXPECT_EQ(daemon.calls_begun(), 3);
}

}  // namespace
}  // namespace modeld
