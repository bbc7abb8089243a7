#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "disk.h"
#include "samples.h"
#include "support/processes.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::state {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

namespace fs = std::filesystem;

std::vector<std::string> AliasesIn(const std::string& directory) {
  std::vector<std::string> names;
  const auto file = OpenOrFail(directory);
  for (const auto& [name, alias] : file->loaded().aliases) names.push_back(name);
  return names;
}

void ExpectNotSaved(const absl::Status& status, const std::string& path, const std::string& words) {
  EXPECT_EQ(wire::GetReason(status), wire::Reason::kStateNotSaved) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  EXPECT_EQ(wire::GetErrorInfo(status).metadata["file"], path);
}

TEST(FailingDisk, ThatIsFullCostsTheChangesMadeThen) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("before", 1)).ok());
    const uint64_t size = fs::file_size(file->path());
    {
      const FullDisk full(size + 20);
      for (int i = 0; i < 3; ++i) {
        ExpectNotSaved(SaveAndWait(*file, SetAliasAt("refused", 2)), file->path(),
                       "File too large");
        EXPECT_EQ(fs::file_size(file->path()), size);
      }
    }
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("after", 3)).ok());
  }
  EXPECT_THAT(AliasesIn(dir.path()), ElementsAre("after", "before"));
}

TEST(FailingDisk, HasRoomForAChangeWhereItHasNoneForEvents) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    const FullDisk full(fs::file_size(file->path()) + Entry(SetAliasAt("a", 1)).line.size());
    file->OnEvent(FullEvent(1));
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("a", 1)).ok());
  }
  EXPECT_THAT(AliasesIn(dir.path()), ElementsAre("a"));
}

TEST(FailingDisk, GetsTheEventsOnceItHasRoom) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    {
      const FullDisk full(fs::file_size(file->path()));
      file->OnEvent(FullEvent(1));
      // With the change goes a first attempt for the event.
      EXPECT_FALSE(SaveAndWait(*file, SetAliasAt("a", 1)).ok());
    }
    file->OnEvent(FullEvent(2));
    const std::string line = Entry(FullEvent(2)).line;
    EXPECT_TRUE(test::Eventually([&] { return ReadAll(file->path()).ends_with(line); }));
    EXPECT_EQ(file->dropped_events(), 0u);
  }
  EXPECT_THAT(OpenOrFail(dir.path())->loaded().events, SizeIs(2));
}

TEST(FailingDisk, LosesEventsWhenItStaysFull) {
  const test::TempDir dir;
  const auto file = OpenOrFail(dir.path());
  const FullDisk full(fs::file_size(file->path()));
  for (uint64_t i = 1; i <= 7; ++i) file->OnEvent(PlainEvent(i));
  file->Close();
  EXPECT_EQ(file->dropped_events(), 7u);
}

TEST(FailingDisk, ThatHangsHoldsUpNobodyWhoTellsOfEvents) {
  const test::TempDir dir;
  constexpr uint64_t kEvents = StateFile::kMaxWaitingEvents + 5;
  {
    const auto file = OpenOrFail(dir.path());
    const int syncs_before = TheDisk().syncs;
    TheDisk().hangs = true;
    file->Save(SetAliasAt("a", 1), [](absl::Status) {});
    EXPECT_TRUE(test::Eventually([&] { return TheDisk().syncs > syncs_before; }));
    for (uint64_t i = 1; i <= kEvents; ++i) file->OnEvent(PlainEvent(i));
    EXPECT_EQ(file->dropped_events(), 5u);

    for (size_t i = 0; i < StateFile::kMaxWaitingSaves; ++i) {
      file->Save(SetAliasAt("b", 1), [](const absl::Status& status) { EXPECT_TRUE(status.ok()); });
    }
    ExpectNotSaved(SaveAndWait(*file, SetAliasAt("c", 1)), file->path(), "does not answer");
    TheDisk().Release();
  }
  const auto file = OpenOrFail(dir.path());
  EXPECT_THAT(file->loaded().aliases, SizeIs(2));
  ASSERT_THAT(file->loaded().events, SizeIs(StateFile::kMaxWaitingEvents));
  EXPECT_EQ(file->loaded().events.front().sequence, 6u);
  EXPECT_EQ(file->loaded().events.back().sequence, kEvents);
}

TEST(FailingDisk, ThatCannotSyncKeepsNothingOfTheChange) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("before", 1)).ok());
    const std::string before = ReadAll(file->path());
    TheDisk().sync_errors = 1;
    ExpectNotSaved(SaveAndWait(*file, SetAliasAt("refused", 2)), file->path(),
                   "Input/output error");
    EXPECT_EQ(ReadAll(file->path()), before);
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("after", 3)).ok());
  }
  EXPECT_THAT(AliasesIn(dir.path()), ElementsAre("after", "before"));
}

TEST(FailingDisk, ThatCannotTakeBackGetsANewFile) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("before", 1)).ok());
    const std::string before = ReadAll(file->path());
    TheDisk().sync_errors = 1;
    TheDisk().truncate_errors = 1;
    ExpectNotSaved(SaveAndWait(*file, SetAliasAt("refused", 2)), file->path(),
                   "Input/output error");
    EXPECT_EQ(TheDisk().truncate_errors, 0);
    EXPECT_EQ(ReadAll(file->path()), before);
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("after", 3)).ok());
  }
  EXPECT_THAT(AliasesIn(dir.path()), ElementsAre("after", "before"));
}

TEST(FailingDisk, ThatTakesNoNewFileEitherGetsItWithTheNextChange) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("before", 1)).ok());
    {
      const FullDisk full(20);  // less than a new file takes
      TheDisk().truncate_errors = 1;
      ExpectNotSaved(SaveAndWait(*file, SetAliasAt("refused", 2)), file->path(), "File too large");
      ExpectNotSaved(SaveAndWait(*file, SetAliasAt("refused", 3)), file->path(), "File too large");
    }
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("after", 3)).ok());
  }
  EXPECT_THAT(AliasesIn(dir.path()), ElementsAre("after", "before"));
}

}  // namespace
}  // namespace modeld::state
