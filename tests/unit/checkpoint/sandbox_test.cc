// Tries to break out of the parser's sandbox, in a process of its own (sandbox_probe).

#include "checkpoint/sandbox.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>

#include "base/child_process.h"
#include "support/temp_dir.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

using ::testing::AnyOf;
using ::testing::Eq;

class SandboxTest : public ::testing::Test {
 protected:
  // What each attempt ended with.
  std::map<std::string, int> Probe(const std::string& mode) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const wire::UniqueFd reader(ends[0]);
    wire::UniqueFd writer(ends[1]);
    auto child = base::ChildProcess::Spawn({.path = SANDBOX_PROBE,
                                            .args = {mode, file_, dir_.path()},
                                            .fds = {{writer.get(), STDOUT_FILENO}}});
    EXPECT_TRUE(child.ok()) << child.status();
    if (!child.ok()) return {};
    writer.reset();
    std::string output;
    char buffer[4096];
    for (ssize_t got = 0; (got = read(reader.get(), buffer, sizeof(buffer))) > 0;) {
      output.append(buffer, static_cast<size_t>(got));
    }
    EXPECT_TRUE(child->Wait()->ok()) << child->Wait()->Text() << "\n" << output;
    std::map<std::string, int> results;
    std::istringstream lines(output);
    std::string name;
    int value = 0;
    while (lines >> name >> value) results[name] = value;
    return results;
  }

  static int Take(std::map<std::string, int>& results, const std::string& name) {
    const auto found = results.find(name);
    if (found == results.end()) {
      ADD_FAILURE() << "the probe did not try " << name;
      return -1;
    }
    const int value = found->second;
    results.erase(found);
    return value;
  }

  static void ExpectStillWorking(std::map<std::string, int>& results) {
    EXPECT_EQ(Take(results, "ok-pread"), 0);
    EXPECT_EQ(Take(results, "ok-malloc"), 0);
  }

  void ExpectNothingTouched() {
    EXPECT_EQ(std::filesystem::file_size(file_), 7u);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 1);
  }

  test::TempDir dir_;
  const std::string file_ = dir_.Write("file", "content");
};

TEST_F(SandboxTest, NothingThatCouldHarmIsPossibleInside) {
  auto results = Probe("all");
  Take(results, "landlock");
  if (Take(results, "seccomp") == 0) GTEST_SKIP() << "this kernel has no seccomp";
  EXPECT_EQ(Take(results, "other-fd"), EBADF);
  if (!kSanitizerBuild) {
    EXPECT_EQ(Take(results, "memory"), ENOMEM);
  }
  ExpectStillWorking(results);
  EXPECT_GE(results.size(), 40u);
  for (const auto& [attempt, error] : results) EXPECT_EQ(error, EPERM) << attempt;
  ExpectNothingTouched();
}

TEST_F(SandboxTest, LandlockAloneKeepsFilesNetworkAndSignalsAway) {
  auto results = Probe("landlock");
  const int abi = Take(results, "landlock");
  if (abi == 0) GTEST_SKIP() << "this kernel has no Landlock";
  ExpectStillWorking(results);
  // Truncation is a right since ABI 3.
  if (abi < 3) Take(results, "truncate");
  EXPECT_GE(results.size(), abi >= 6 ? 13u : abi >= 4 ? 12u : 9u);
  for (const auto& [attempt, error] : results) {
    EXPECT_THAT(error, AnyOf(Eq(EACCES), Eq(EPERM))) << attempt;
  }
  ExpectNothingTouched();
}

TEST_F(SandboxTest, SeccompAloneKeepsEverythingButTheListAway) {
  auto results = Probe("seccomp");
  if (Take(results, "seccomp") == 0) GTEST_SKIP() << "this kernel has no seccomp";
  ExpectStillWorking(results);
  EXPECT_GE(results.size(), 39u);
  for (const auto& [attempt, error] : results) EXPECT_EQ(error, EPERM) << attempt;
  ExpectNothingTouched();
}

}  // namespace
}  // namespace modeld::checkpoint
