#include "base/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace modeld::base {
namespace {

using std::chrono::milliseconds;

// What `script` writes to stdout, given more options.
std::string Output(const std::string& script, ChildProcess::Options options = {}) {
  int ends[2] = {-1, -1};
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const wire::UniqueFd reader(ends[0]);
  wire::UniqueFd writer(ends[1]);
  options.path = "/bin/sh";
  options.args = {"-c", script};
  options.fds.emplace_back(writer.get(), STDOUT_FILENO);
  auto child = ChildProcess::Spawn(options);
  EXPECT_TRUE(child.ok()) << child.status();
  if (!child.ok()) return "";
  writer.reset();
  std::string output;
  char buffer[4096];
  for (ssize_t got = 0; (got = read(reader.get(), buffer, sizeof(buffer))) > 0;) {
    output.append(buffer, static_cast<size_t>(got));
  }
  EXPECT_TRUE(child->Wait()->ok()) << child->Wait()->Text();
  return output;
}

absl::StatusOr<ChildProcess> Shell(const std::string& script) {
  return ChildProcess::Spawn({.path = "/bin/sh", .args = {"-c", script}});
}

// AddressSanitizer knows of the memory only what its own mmap() told it, as that of Abseil's
// arenas.
TEST(ChildProcess, LeavesItsStackForAnybodyToUse) {
  ASSERT_TRUE(Shell("exit 0")->Wait()->ok());
  constexpr size_t kBytes = 256 << 10;
  const long got = syscall(SYS_mmap, nullptr, kBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* const memory = reinterpret_cast<void*>(got);
  ASSERT_NE(memory, MAP_FAILED);
  memset(memory, 1, kBytes);
  munmap(memory, kBytes);
}

TEST(ChildProcess, TellsHowItEnded) {
  EXPECT_EQ(Shell("exit 0")->Wait()->Text(), "exited with code 0");
  EXPECT_TRUE(Shell("exit 0")->Wait()->ok());
  EXPECT_EQ(Shell("exit 3")->Wait()->Text(), "exited with code 3");
  EXPECT_EQ(Shell("kill -KILL $$")->Wait()->Text(), "killed by signal 9 (Killed)");
  EXPECT_FALSE(Shell("kill -TERM $$")->Wait()->ok());
}

TEST(ChildProcess, WaitsUntilTheDeadlineAndNoLonger) {
  auto child = Shell("exec sleep 600");
  ASSERT_TRUE(child.ok());
  EXPECT_FALSE(child->Wait(SystemClock().Now() + milliseconds(20)));
  EXPECT_FALSE(child->Wait(SystemClock().Now() - milliseconds(20)));
  child->Kill(SIGTERM);
  const auto exit = child->Wait(SystemClock().Now() + std::chrono::seconds(60));
  ASSERT_TRUE(exit);
  EXPECT_EQ(*exit, (ExitStatus{.signaled = true, .value = SIGTERM}));
  EXPECT_EQ(child->Wait(), exit);
  child->Kill(SIGKILL);  // of nobody
}

TEST(ChildProcess, ExecErrorsAreToldToTheCaller) {
  const auto missing = ChildProcess::Spawn({.path = "/nonexistent/program"});
  EXPECT_TRUE(absl::IsNotFound(missing.status())) << missing.status();
  EXPECT_NE(std::string(missing.status().message()).find("/nonexistent/program"),
            std::string::npos);
  EXPECT_TRUE(absl::IsPermissionDenied(ChildProcess::Spawn({.path = "/etc/passwd"}).status()));
  EXPECT_FALSE(ChildProcess::Spawn({.path = "/bin/sh", .fds = {{9999, 5}}}).ok());
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no zombie is left";
  EXPECT_EQ(errno, ECHILD);
}

TEST(ChildProcess, GetsExactlyTheDescriptorsItIsGiven) {
  const int leaky = open("/dev/null", O_RDONLY);  // without CLOEXEC, as a careless library opens it
  ASSERT_GE(leaky, 0);
  const std::string listed = Output("exec ls /proc/self/fd", {.fds = {{leaky, 17}}});
  close(leaky);
  std::istringstream words(listed);
  std::set<int> fds;
  for (int fd = 0; words >> fd;) fds.insert(fd);
  fds.erase(3);  // ls reads the directory
  EXPECT_EQ(fds, (std::set<int>{0, 1, 2, 17})) << listed;
}

TEST(ChildProcess, DescriptorsMayTradePlaces) {
  int first[2];
  int second[2];
  ASSERT_EQ(pipe2(first, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(second, O_CLOEXEC), 0);
  ASSERT_EQ(write(first[1], "first\n", 6), 6);
  ASSERT_EQ(write(second[1], "second\n", 7), 7);
  const int a = first[0];
  const int b = second[0];
  if (a > 9 || b > 9) GTEST_SKIP() << "dash redirects one digit only";
  const std::string script =
      "read x <&" + std::to_string(a) + "; read y <&" + std::to_string(b) + "; echo $x $y";
  EXPECT_EQ(Output(script, {.fds = {{a, b}, {b, a}}}), "second first\n");
  for (const int fd : {first[0], first[1], second[0], second[1]}) close(fd);
}

TEST(ChildProcess, StdinIsEmptyUnlessGiven) {
  EXPECT_EQ(Output("if read line; then echo got; else echo empty; fi"), "empty\n");
}

TEST(ChildProcess, EnvironmentIsTheParentsWithItsOwnAdditions) {
  setenv("MODELD_TEST_KEPT", "kept", 1);
  setenv("MODELD_TEST_REPLACED", "old", 1);
  EXPECT_EQ(Output("echo $MODELD_TEST_KEPT $MODELD_TEST_REPLACED $MODELD_TEST_NEW",
                   {.env = {"MODELD_TEST_REPLACED=new", "MODELD_TEST_NEW=a b"}}),
            "kept new a b\n");
}

TEST(ChildProcess, MayHaveASessionOfItsOwn) {
  // The sixth field of stat is the session.
  const std::string script =
      "read -r a b c d e session rest < /proc/$$/stat; "
      "if [ $session = $$ ]; then echo own; else echo shared; fi";
  EXPECT_EQ(Output(script, {.new_session = true}), "own\n");
  EXPECT_EQ(Output(script, {.new_session = false}), "shared\n");
}

TEST(ChildProcess, StartsWithNoSignalBlockedOrIgnored) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto old = signal(SIGPIPE, SIG_IGN);
  const std::string status = Output("grep -E '^Sig(Blk|Ign)' /proc/self/status");
  signal(SIGPIPE, old);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(status, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(ChildProcess, DiesWithTheThreadThatAskedForIt) {
  absl::StatusOr<ChildProcess> child;
  std::thread([&child] {
    child = ChildProcess::Spawn(
        {.path = "/bin/sleep", .args = {"600"}, .parent_death_signal = SIGKILL});
  }).join();
  ASSERT_TRUE(child.ok());
  const auto exit = child->Wait(SystemClock().Now() + std::chrono::seconds(60));
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->value, SIGKILL);
}

TEST(ChildProcess, TheDestructorLeavesNeitherProcessNorZombie) {
  pid_t pid = 0;
  {
    auto child = Shell("exec sleep 600");
    ASSERT_TRUE(child.ok());
    pid = child->pid();
    ChildProcess moved = *std::move(child);
    EXPECT_EQ(kill(moved.pid(), 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcess, ADetachedChildRunsOn) {
  pid_t pid = 0;
  {
    auto child = Shell("exec sleep 600");
    ASSERT_TRUE(child.ok());
    pid = child->pid();
    child->Detach();
    EXPECT_FALSE(child->valid());
  }
  EXPECT_EQ(kill(pid, SIGKILL), 0);
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST(ChildProcess, ManyThreadsSpawnAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(Output("echo " + std::to_string(t)), std::to_string(t) + "\n");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(FindProgram, LooksWhereItIsToldAndSaysSo) {
  EXPECT_EQ(*FindProgram("sh", "/bin"), "/bin/sh");
  const auto missing = FindProgram("modeld-nothing", "/bin");
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_NE(std::string(missing.status().message()).find("/bin"), std::string::npos);
  setenv("MODELD_LIBEXEC_DIR", "/bin", 1);
  EXPECT_EQ(*FindProgram("sh"), "/bin/sh");
  unsetenv("MODELD_LIBEXEC_DIR");
  EXPECT_TRUE(absl::IsNotFound(FindProgram("modeld-nothing").status()));
  EXPECT_TRUE(FindProgram("child_process_test").ok());
}

}  // namespace
}  // namespace modeld::base
