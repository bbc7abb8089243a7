#include "state/state_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "disk.h"
#include "samples.h"
#include "state/line.h"
#include "support/processes.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::state {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr size_t kMegabyte = 1 << 20;

std::string FileIn(const test::TempDir& dir) { return dir / Journal::kFileName; }

TEST(StateFile, StartsEmptyInAnEmptyDirectory) {
  const test::TempDir dir;
  const auto file = OpenOrFail(dir.path());
  EXPECT_THAT(TextOf(file->loaded()), IsEmpty());
  EXPECT_THAT(file->notes(), IsEmpty());
  EXPECT_EQ(file->path(), FileIn(dir));
  struct stat status;
  ASSERT_EQ(::stat(FileIn(dir).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST(StateFile, BringsBackWhatWasSaved) {
  const test::TempDir dir;
  residency::DurableState expected;
  {
    const auto file = OpenOrFail(dir.path());
    EXPECT_TRUE(SaveAndWait(*file, residency::SetAlias{FullAlias("a")}).ok());
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("gone", 1)).ok());
    EXPECT_TRUE(SaveAndWait(*file, residency::RemoveAlias{"gone"}).ok());
    EXPECT_TRUE(SaveAndWait(*file, residency::SetPin{FullKey("x"), "/m/x"}).ok());
    EXPECT_TRUE(SaveAndWait(*file, residency::SetPin{FullKey("y")}).ok());
    EXPECT_TRUE(SaveAndWait(*file, residency::RemovePin{FullKey("y")}).ok());
    file->OnEvent(FullEvent(17));
    file->OnEvent(PlainEvent(19));
  }
  expected.aliases.emplace("a", FullAlias("a"));
  expected.pins[FullKey("x")] = "/m/x";
  expected.events = {FullEvent(17), PlainEvent(19)};
  // And goes on from there.
  for (int round = 0; round < 3; ++round) {
    const auto file = OpenOrFail(dir.path());
    EXPECT_THAT(file->notes(), IsEmpty());
    EXPECT_THAT(TextOf(file->loaded()), ElementsAreArray(TextOf(expected)));
    const residency::SetAlias more = SetAliasAt("more" + std::to_string(round), round);
    EXPECT_TRUE(SaveAndWait(*file, more).ok());
    expected.aliases.emplace(more.alias.name, more.alias);
  }
}

TEST(StateFile, GivesAwayWhatItLoaded) {
  const test::TempDir dir;
  EXPECT_TRUE(SaveAndWait(*OpenOrFail(dir.path()), SetAliasAt("a", 1)).ok());
  const auto file = OpenOrFail(dir.path());
  EXPECT_THAT(file->TakeLoaded().aliases, SizeIs(1));
  EXPECT_THAT(file->loaded().aliases, IsEmpty());
}

TEST(StateFile, HasAChangeOnTheDiskBeforeItSaysSo) {
  const test::TempDir dir;
  const auto file = OpenOrFail(dir.path());
  for (int i = 0; i < 10; ++i) {
    const residency::SetAlias change = SetAliasAt("a", i);
    const int syncs_before = TheDisk().syncs;
    ASSERT_TRUE(SaveAndWait(*file, change).ok());
    EXPECT_GT(TheDisk().syncs, syncs_before);
    EXPECT_THAT(ReadAll(FileIn(dir)), ::testing::EndsWith(Entry(change).line));
  }
}

TEST(StateFile, SharesOneSyncAmongChangesThatWait) {
  const test::TempDir dir;
  constexpr int kChanges = 100;
  {
    const auto file = OpenOrFail(dir.path());
    const int syncs_before = TheDisk().syncs;
    TheDisk().hangs = true;
    std::vector<int> order;
    const auto save = [&](int i) {
      file->Save(SetAliasAt("a" + std::to_string(i), i), [&order, i](absl::Status status) {
        EXPECT_TRUE(status.ok()) << status;
        order.push_back(i);
      });
    };
    save(0);
    EXPECT_TRUE(test::Eventually([&] { return TheDisk().syncs == syncs_before + 1; }));
    for (int i = 1; i < kChanges; ++i) save(i);
    file->OnEvent(PlainEvent(1));
    TheDisk().Release();
    file->Close();
    EXPECT_EQ(TheDisk().syncs, syncs_before + 2);
    ASSERT_THAT(order, SizeIs(kChanges));
    for (int i = 0; i < kChanges; ++i) EXPECT_EQ(order[i], i);
  }
  EXPECT_THAT(StateIn(dir.path()), SizeIs(kChanges + 1));
}

TEST(StateFile, WritesAnEventThatNothingFollows) {
  const test::TempDir dir;
  const auto file = OpenOrFail(dir.path());
  file->OnEvent(FullEvent(5));
  const std::string line = Entry(FullEvent(5)).line;
  EXPECT_TRUE(test::Eventually([&] { return ReadAll(FileIn(dir)).ends_with(line); }));
}

TEST(StateFile, WritesEventsWithTheNextChange) {
  const test::TempDir dir;
  const auto file = OpenOrFail(dir.path());
  file->OnEvent(FullEvent(5));
  ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("a", 1)).ok());
  EXPECT_THAT(ReadAll(FileIn(dir)), HasSubstr(Entry(FullEvent(5)).line));
}

TEST(StateFile, TakesChangesAndEventsFromManyThreads) {
  const test::TempDir dir;
  constexpr int kThreads = 4;
  constexpr int kEach = 50;
  {
    const auto file = OpenOrFail(dir.path());
    std::atomic<int> done{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (int i = 0; i < kEach; ++i) {
          file->OnEvent(PlainEvent(static_cast<uint64_t>(i)));
          file->Save(SetAliasAt(std::to_string(thread) + "/" + std::to_string(i), i),
                     [&](absl::Status status) { done += status.ok() ? 1 : 0; });
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    file->Close();
    EXPECT_EQ(done, kThreads * kEach);
    EXPECT_EQ(file->dropped_events(), 0u);
  }
  EXPECT_THAT(StateIn(dir.path()), SizeIs(2 * kThreads * kEach));
}

TEST(StateFile, TakesAChangeFromWithinTheAnswerToAnother) {
  const test::TempDir dir;
  const auto file = OpenOrFail(dir.path());
  std::promise<absl::Status> second;
  file->Save(SetAliasAt("a", 1), [&](const absl::Status&) {
    file->Save(SetAliasAt("b", 2), [&](absl::Status status) { second.set_value(status); });
  });
  EXPECT_TRUE(second.get_future().get().ok());
}

TEST(StateFile, RefusesChangesOnceItIsClosed) {
  const test::TempDir dir;
  const auto file = OpenOrFail(dir.path());
  file->Close();
  file->Close();
  const absl::Status status = SaveAndWait(*file, SetAliasAt("a", 1));
  EXPECT_EQ(wire::GetReason(status), wire::Reason::kStateNotSaved);
  file->OnEvent(PlainEvent(1));
  EXPECT_EQ(file->dropped_events(), 1u);
}

TEST(StateFile, RefusesAChangeThatIsTooLargeAndNoOther) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    const absl::Status status = SaveAndWait(*file, SetAliasAt("large", 1, kMaxLineBytes));
    EXPECT_EQ(wire::GetReason(status), wire::Reason::kStateNotSaved);
    EXPECT_THAT(std::string(status.message()), HasSubstr(FileIn(dir)));
    EXPECT_TRUE(SaveAndWait(*file, SetAliasAt("small", 1)).ok());
    residency::Event event = PlainEvent(1);
    event.message.assign(kMaxLineBytes, 'x');
    file->OnEvent(event);
    file->OnEvent(PlainEvent(2));
    file->Close();
    EXPECT_EQ(file->dropped_events(), 1u);
  }
  EXPECT_THAT(StateIn(dir.path()), SizeIs(2));
}

TEST(StateFile, ShrinksAndKeepsEverythingWhenItHasGrown) {
  const test::TempDir dir;
  std::vector<std::string> expected;
  {
    const auto file = OpenOrFail(dir.path());
    EXPECT_TRUE(SaveAndWait(*file, residency::SetAlias{FullAlias("first")}).ok());
    EXPECT_TRUE(SaveAndWait(*file, residency::SetPin{FullKey("x")}).ok());
    uint64_t largest = 0;
    for (int i = 0; i < 60; ++i) {
      file->OnEvent(FullEvent(static_cast<uint64_t>(i)));
      ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("again", i, kMegabyte / 10)).ok());
      largest = std::max<uint64_t>(largest, std::filesystem::file_size(FileIn(dir)));
    }
    EXPECT_LT(largest, 2 * kMegabyte);
    residency::DurableState state;
    state.aliases.emplace("first", FullAlias("first"));
    state.aliases.emplace("again", SetAliasAt("again", 59, kMegabyte / 10).alias);
    state.pins[FullKey("x")];
    for (uint64_t i = 0; i < 60; ++i) state.events.push_back(FullEvent(i));
    expected = TextOf(state);
  }
  EXPECT_THAT(StateIn(dir.path()), ElementsAreArray(expected));
  EXPECT_THAT(ReadAll(FileIn(dir)), HasSubstr("modeld_state"));
  EXPECT_FALSE(std::filesystem::exists(FileIn(dir) + ".new"));
  struct stat status;
  ASSERT_EQ(::stat(FileIn(dir).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST(StateFile, KeepsTheLastEventsOfMany) {
  const test::TempDir dir;
  constexpr uint64_t kEvents = 3 * StateFile::kMaxWaitingEvents;
  {
    const auto file = OpenOrFail(dir.path());
    for (uint64_t i = 1; i <= kEvents; ++i) {
      file->OnEvent(FullEvent(i));
      // None is dropped: they are written as they come.
      if (i % 1000 == 0) {
        ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("a", 1)).ok());
      }
    }
    EXPECT_EQ(file->dropped_events(), 0u);
  }
  const size_t needed = StateFile::kMaxWaitingEvents * Entry(FullEvent(kEvents)).line.size();
  EXPECT_LT(std::filesystem::file_size(FileIn(dir)), 2 * needed + 2 * kMegabyte);
  const auto file = OpenOrFail(dir.path());
  ASSERT_THAT(file->loaded().events, SizeIs(StateFile::kMaxWaitingEvents));
  EXPECT_EQ(file->loaded().events.front().sequence, kEvents - StateFile::kMaxWaitingEvents + 1);
  EXPECT_EQ(file->loaded().events.back().sequence, kEvents);
}

TEST(StateFile, WritesItselfAnewWhereItWasRemoved) {
  const test::TempDir dir;
  {
    const auto file = OpenOrFail(dir.path());
    ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("a", 1)).ok());
    ASSERT_EQ(::unlink(FileIn(dir).c_str()), 0);
    ASSERT_TRUE(SaveAndWait(*file, SetAliasAt("b", 2)).ok());
  }
  EXPECT_THAT(StateIn(dir.path()), SizeIs(2));
}

TEST(StateFile, IsOfOneProcessAtATime) {
  const test::TempDir dir;
  {
    const auto first = OpenOrFail(dir.path());
    const auto second = StateFile::Open(dir.path());
    ASSERT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
    EXPECT_THAT(std::string(second.status().message()), HasSubstr(dir.path()));
    EXPECT_TRUE(SaveAndWait(*first, SetAliasAt("a", 1)).ok());
  }
  EXPECT_THAT(StateIn(dir.path()), SizeIs(1));
}

void ExpectRefused(const std::string& directory, const std::string& named) {
  const auto file = StateFile::Open(directory);
  ASSERT_TRUE(absl::IsFailedPrecondition(file.status())) << file.status();
  EXPECT_THAT(std::string(file.status().message()), HasSubstr(named));
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("--state-dir"));
}

TEST(StateFile, RefusesWhatIsNoFileOfItsOwn) {
  const test::TempDir dir;
  ExpectRefused(dir / "missing", dir / "missing");
  ExpectRefused(dir.Write("a_file", ""), dir / "a_file");

  const std::string other = dir.Write("other", "untouched");
  const std::string link = dir.Mkdir("link");
  ExpectRefused(link, dir.Symlink(other, "link/state.jsonl"));
  const std::string link_to_nothing = dir.Mkdir("nothing");
  ExpectRefused(link_to_nothing, dir.Symlink(dir / "nowhere", "nothing/state.jsonl"));
  const std::string linked_lock = dir.Mkdir("lock");
  ExpectRefused(linked_lock, dir.Symlink(other, "lock/state.lock"));
  EXPECT_EQ(ReadAll(other), "untouched");

  const std::string directory = dir.Mkdir("directory");
  ExpectRefused(directory, dir.Mkdir("directory/state.jsonl"));

  const std::string fifo = dir.Mkdir("fifo") + "/state.jsonl";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  ExpectRefused(dir / "fifo", fifo);
}

TEST(StateFile, RefusesAFileThatItMayNotRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const test::TempDir dir;
  ASSERT_EQ(::chmod(dir.Write("state.jsonl", "").c_str(), 0), 0);
  ExpectRefused(dir.path(), FileIn(dir));
}

}  // namespace
}  // namespace modeld::state
