// What is left of a damaged file, and what the operator is told.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "disk.h"
#include "samples.h"
#include "state/aside.h"
#include "state/line.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::state {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace fs = std::filesystem;

std::string JournalOf(std::initializer_list<std::string> lines) {
  std::string bytes = Entry(Header{}).line;
  for (const std::string& line : lines) bytes += line;
  return bytes;
}

std::string LineOfAlias(std::string_view name) { return Entry(SetAliasAt(name, 1)).line; }

TEST(Damage, IsPutAsideAndToldOnce) {
  const test::TempDir dir;
  const std::string damaged =
      JournalOf({LineOfAlias("a"), "garbage\n", LineOfAlias("b"), "more of it\n"});
  const std::string path = dir.Write("state.jsonl", damaged);
  {
    const auto file = OpenOrFail(dir.path());
    EXPECT_THAT(file->loaded().aliases, SizeIs(2));
    EXPECT_THAT(file->notes(), ElementsAre(HasSubstr(path + " has 2 damaged lines"),
                                           HasSubstr(path + ".damaged-1")));
    EXPECT_EQ(ReadAll(AsidePath(path, 1)), damaged);
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("c", 1)).ok());
  }
  const auto file = OpenOrFail(dir.path());
  EXPECT_THAT(file->loaded().aliases, SizeIs(3));
  EXPECT_THAT(file->notes(), IsEmpty());
  EXPECT_EQ(ReadAll(AsidePath(path, 1)), damaged);
  EXPECT_FALSE(fs::exists(AsidePath(path, 2)));
}

TEST(Damage, IsKeptAsideAFewTimes) {
  const test::TempDir dir;
  const std::string path = dir / "state.jsonl";
  for (int i = 1; i <= kMaxKeptAside + 2; ++i) {
    dir.Write("state.jsonl", JournalOf({"garbage " + std::to_string(i) + "\n"}));
    EXPECT_THAT(OpenOrFail(dir.path())->notes(), SizeIs(2));
  }
  for (int number = 1; number <= kMaxKeptAside; ++number) {
    EXPECT_THAT(ReadAll(AsidePath(path, number)),
                HasSubstr("garbage " + std::to_string(kMaxKeptAside + 3 - number)));
  }
  EXPECT_FALSE(fs::exists(AsidePath(path, kMaxKeptAside + 1)));
}

TEST(Damage, IsNoneWhereACrashCutTheLastLineShort) {
  const test::TempDir dir;
  const std::string last = LineOfAlias("b");
  dir.Write("state.jsonl", JournalOf({LineOfAlias("a"), last.substr(0, last.size() / 2)}));
  {
    const auto file = OpenOrFail(dir.path());
    EXPECT_THAT(file->loaded().aliases, SizeIs(1));
    EXPECT_THAT(file->notes(), IsEmpty());
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("c", 1)).ok());
  }
  EXPECT_THAT(StateIn(dir.path()), SizeIs(2));
  EXPECT_FALSE(fs::exists(AsidePath(dir / "state.jsonl", 1)));
}

TEST(Damage, OfAFileOfANewerVersionIsNone) {
  const test::TempDir dir;
  const std::string newer = Entry(Header{kFormatVersion + 1}).line + LineOfAlias("a");
  const std::string path = dir.Write("state.jsonl", newer);
  const auto file = OpenOrFail(dir.path());
  EXPECT_THAT(TextOf(file->loaded()), IsEmpty());
  EXPECT_THAT(file->notes(), ElementsAre(HasSubstr(wire::StrCat("version ", kFormatVersion + 1)),
                                         HasSubstr(".damaged-1")));
  EXPECT_EQ(ReadAll(AsidePath(path, 1)), newer);
  EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("b", 1)).ok());
}

TEST(Damage, OfTheFirstLineIsTold) {
  const test::TempDir dir;
  dir.Write("state.jsonl", LineOfAlias("a"));
  EXPECT_THAT(OpenOrFail(dir.path())->notes(), SizeIs(1));
  dir.Write("state.jsonl", "");
  EXPECT_THAT(OpenOrFail(dir.path())->notes(), SizeIs(1));
  EXPECT_THAT(OpenOrFail(dir.path())->notes(), IsEmpty());
}

TEST(Damage, OfAnEnormousFileIsReadInPart) {
  const test::TempDir dir;
  const std::string path = dir.Write("state.jsonl", JournalOf({LineOfAlias("a")}));
  fs::resize_file(path, 300 << 20);  // a hole
  const auto file = OpenOrFail(dir.path());
  EXPECT_THAT(file->loaded().aliases, SizeIs(1));
  EXPECT_THAT(file->notes(), ElementsAre(HasSubstr("268435456 bytes"), HasSubstr(".damaged-1")));
  EXPECT_LT(fs::file_size(path), 1000u);
}

TEST(Damage, DoesNotKeepModeldFromStartingOnAFullDisk) {
  const test::TempDir dir;
  const std::string damaged = JournalOf({LineOfAlias("a"), "garbage\n", LineOfAlias("b")});
  const std::string path = dir.Write("state.jsonl", damaged);
  {
    auto full = std::make_unique<FullDisk>(0);
    const auto file = OpenOrFail(dir.path());
    EXPECT_THAT(file->loaded().aliases, SizeIs(2));
    EXPECT_THAT(file->notes(), ElementsAre(HasSubstr("1 damaged lines"), HasSubstr("cannot save")));
    EXPECT_EQ(wire::GetReason(SaveAndWait(*file, SetAliasAt("c", 1))),
              wire::Reason::kStateNotSaved);
    EXPECT_EQ(ReadAll(path), damaged);
    full.reset();
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("d", 1)).ok());
    EXPECT_EQ(ReadAll(AsidePath(path, 1)), damaged);
  }
  EXPECT_THAT(StateIn(dir.path()), SizeIs(3));
}

}  // namespace
}  // namespace modeld::state
