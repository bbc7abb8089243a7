#include "modelctl/output_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "support/read_file.h"
#include "support/temp_dir.h"

namespace modeld::modelctl {
namespace {

std::vector<std::string> List(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    names.push_back(entry.path().filename());
  return names;
}

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(OutputFile, IsThereOnlyAfterCommit) {
  const test::TempDir dir;
  auto file = OutputFile::Create(dir / "out", 5);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Write(Bytes("hello")).ok());
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(test::ReadFile(dir / "out"), "hello");
  file->reset();
  EXPECT_EQ(List(dir.path()), std::vector<std::string>{"out"});
}

TEST(OutputFile, LeavesNothingBehindWithoutCommit) {
  const test::TempDir dir;
  dir.Write("out", "old");
  {
    auto file = OutputFile::Create(dir / "out", 0);
    ASSERT_TRUE((*file)->Write(Bytes("new")).ok());
  }
  EXPECT_EQ(List(dir.path()), std::vector<std::string>{"out"});
  EXPECT_EQ(test::ReadFile(dir / "out"), "old");
}

TEST(OutputFile, ReplacesAFileAndKeepsItsMode) {
  const test::TempDir dir;
  dir.Write("out", "old");
  ASSERT_EQ(chmod((dir / "out").c_str(), 0640), 0);
  auto file = OutputFile::Create(dir / "out", 3);
  ASSERT_TRUE((*file)->Write(Bytes("new")).ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(test::ReadFile(dir / "out"), "new");
  struct stat info = {};
  ASSERT_EQ(stat((dir / "out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(OutputFile, GivesANewFileTheUsualMode) {
  const test::TempDir dir;
  const mode_t mask = umask(027);
  auto file = OutputFile::Create(dir / "out", 0);
  umask(mask);
  ASSERT_TRUE((*file)->Commit().ok());
  struct stat info = {};
  ASSERT_EQ(stat((dir / "out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(OutputFile, ReplacesWhatASymlinkPointsTo) {
  const test::TempDir dir;
  dir.Write("target", "old");
  dir.Symlink(dir / "target", "link");
  auto file = OutputFile::Create(dir / "link", 0);
  ASSERT_TRUE((*file)->Write(Bytes("new")).ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
  EXPECT_EQ(test::ReadFile(dir / "target"), "new");
}

TEST(OutputFile, WritesADeviceAsItComesAndNeverReplacesIt) {
  auto file = OutputFile::Create("/dev/null", 1 << 20);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->Write(Bytes("x")).ok());
  EXPECT_TRUE((*file)->Commit().ok());
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(OutputFile, NamesAFullDevice) {
  auto file = OutputFile::Create("/dev/full", 0);
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status written = (*file)->Write(Bytes("x"));
  EXPECT_EQ(written.message(), "cannot write to /dev/full: No space left on device");
}

TEST(OutputFile, CannotBeADirectoryOrInOneThatIsNotThere) {
  const test::TempDir dir;
  EXPECT_EQ(OutputFile::Create(dir.path(), 0).status().message(),
            "cannot write " + dir.path() + ": Is a directory");
  EXPECT_EQ(OutputFile::Create(dir / "no/out", 0).status().message(),
            "cannot write " + (dir / "no/out") + ": No such file or directory");
}

}  // namespace
}  // namespace modeld::modelctl
