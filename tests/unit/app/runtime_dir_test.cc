#include "app/runtime_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/temp_dir.h"

namespace modeld::app {
namespace {

using ::testing::HasSubstr;

struct stat Stat(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status;
}

TEST(RuntimeDir, IsMadeForOwnerAndGroup) {
  const test::TempDir dir;
  const mode_t before = ::umask(077);
  const auto opened = RuntimeDir::Open(dir / "run", std::nullopt);
  ::umask(before);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(Stat(dir / "run").st_mode & 07777, 0750u);
  EXPECT_EQ(opened->path(), dir / "run");
  EXPECT_EQ(opened->File("modeld.sock"), dir / "run/modeld.sock");
}

TEST(RuntimeDir, BelongsToTheGroupThatIsNamed) {
  const test::TempDir dir;
  const gid_t group = ::getegid();
  ASSERT_TRUE(RuntimeDir::Open(dir.Mkdir("run"), group).ok());
  ASSERT_EQ(::chmod((dir / "run").c_str(), 0700), 0);
  ASSERT_TRUE(RuntimeDir::Open(dir / "run", group).ok());
  EXPECT_EQ(Stat(dir / "run").st_mode & 07777, 0750u);
  EXPECT_EQ(Stat(dir / "run").st_gid, group);
}

TEST(RuntimeDir, HasOneOwner) {
  const test::TempDir dir;
  auto first = RuntimeDir::Open(dir / "run", std::nullopt);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = RuntimeDir::Open(dir / "run", std::nullopt);
  ASSERT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("process " + std::to_string(::getpid())));
  first = absl::UnknownError("gone");
  EXPECT_TRUE(RuntimeDir::Open(dir / "run", std::nullopt).ok());
}

TEST(RuntimeDir, IsFreeAfterItsOwnerWasKilled) {
  const test::TempDir dir;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto owned = RuntimeDir::Open(dir / "run", std::nullopt);
    (void)!::write(ready[1], owned.ok() ? "y" : "n", 1);
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  EXPECT_THAT(std::string(RuntimeDir::Open(dir / "run", std::nullopt).status().message()),
              HasSubstr("process " + std::to_string(child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(RuntimeDir::Open(dir / "run", std::nullopt).ok());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(RuntimeDir, RefusesOneThatEverybodyMayWriteTo) {
  const test::TempDir dir;
  ASSERT_EQ(::chmod(dir.Mkdir("run").c_str(), 0777), 0);
  const auto opened = RuntimeDir::Open(dir / "run", std::nullopt);
  ASSERT_TRUE(absl::IsFailedPrecondition(opened.status()));
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("chmod o-w"));
}

TEST(RuntimeDir, RefusesSomebodyElses) {
  const test::TempDir dir;
  const std::string path = ::geteuid() == 0 ? dir.Mkdir("run") : "/";
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  }
  const auto opened = RuntimeDir::Open(path, std::nullopt);
  ASSERT_TRUE(absl::IsFailedPrecondition(opened.status())) << opened.status();
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("belongs to uid"));
}

TEST(RuntimeDir, SaysWhatIsInTheWay) {
  const test::TempDir dir;
  EXPECT_TRUE(
      absl::IsFailedPrecondition(RuntimeDir::Open(dir.Write("file", "x"), std::nullopt).status()));
  const auto orphan = RuntimeDir::Open(dir / "no/run", std::nullopt);
  EXPECT_TRUE(absl::IsNotFound(orphan.status()));
  EXPECT_THAT(std::string(orphan.status().message()), HasSubstr("--runtime-dir"));
}

TEST(RuntimeDir, IsShortEnoughForItsSockets) {
  const test::TempDir dir;
  const size_t most = 107 - std::string("/agent-host.sock").size();
  std::string path = dir / "r";
  path.resize(most, 'r');
  EXPECT_TRUE(RuntimeDir::Open(path, std::nullopt).ok());
  const auto longer = RuntimeDir::Open(path + "r", std::nullopt);
  ASSERT_TRUE(absl::IsInvalidArgument(longer.status()));
  EXPECT_THAT(std::string(longer.status().message()), HasSubstr("108 bytes, and 107"));
  EXPECT_NE(::access((path + "r").c_str(), F_OK), 0);
}

TEST(StateDir, IsMadeForTheOwnerAlone) {
  const test::TempDir dir;
  ASSERT_TRUE(MakeStateDir(dir / "state").ok());
  EXPECT_EQ(Stat(dir / "state").st_mode & 07777, 0700u);
  EXPECT_TRUE(MakeStateDir(dir / "state").ok());
}

TEST(GroupId, TakesNamesAndNumbers) {
  EXPECT_EQ(GroupId("root").value(), 0u);
  EXPECT_EQ(GroupId("4711").value(), 4711u);
  const auto none = GroupId("no-such-group");
  EXPECT_TRUE(absl::IsNotFound(none.status()));
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("no-such-group"));
}

}  // namespace
}  // namespace modeld::app
