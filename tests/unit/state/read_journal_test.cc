#include "state/read_journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "samples.h"
#include "state/line.h"
#include "wire/unique_fd.h"

namespace modeld::state {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

JournalContents Read(const std::string& bytes) {
  const wire::UniqueFd fd(::memfd_create("journal", MFD_CLOEXEC));
  EXPECT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  absl::StatusOr<JournalContents> contents = ReadJournal(fd.get());
  EXPECT_TRUE(contents.ok()) << contents.status();
  return *std::move(contents);
}

// Records that do not depend on each other, in the order in which TextOf() has them.
std::vector<std::string> SmallJournal() {
  return {
      Entry(Header{}).line,           Entry(residency::SetAlias{FullAlias("a")}).line,
      Entry(SetAliasAt("b", 2)).line, Entry(residency::SetPin{FullKey("x")}).line,
      Entry(FullEvent(1)).line,       Entry(PlainEvent(2)).line,
  };
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string bytes;
  for (const std::string& line : lines) bytes += line;
  return bytes;
}

// Without the header, and without those that are left out.
std::vector<std::string> RecordsOf(const std::vector<std::string>& lines, size_t left_out = 0) {
  std::vector<std::string> records;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (i == left_out) continue;
    const std::string line = lines[i].substr(0, lines[i].size() - 1);
    records.emplace_back(*TextOf(line));
  }
  return records;
}

TEST(ReadJournal, OfASoundFileIsWhole) {
  const std::vector<std::string> lines = SmallJournal();
  const JournalContents contents = Read(Joined(lines));
  EXPECT_TRUE(contents.IsWhole());
  EXPECT_THAT(TextOf(contents.state), ElementsAreArray(RecordsOf(lines)));
  EXPECT_EQ(contents.image.Text(), Joined(lines));
  EXPECT_EQ(contents.image.size_bytes(), contents.read_bytes);
}

TEST(ReadJournal, TakesChangesInTheirOrder) {
  const JournalContents contents = Read(Joined({
      Entry(Header{}).line,
      Entry(SetAliasAt("a", 1)).line,
      Entry(residency::RemoveAlias{"a"}).line,
      Entry(SetAliasAt("b", 1)).line,
      Entry(SetAliasAt("b", 2)).line,
      Entry(residency::SetPin{FullKey("x")}).line,
      Entry(residency::SetPin{FullKey("y"), "/m/y"}).line,
      Entry(residency::RemovePin{FullKey("x")}).line,
      Entry(residency::RemovePin{FullKey("never there")}).line,
  }));
  EXPECT_TRUE(contents.IsWhole());
  ASSERT_THAT(contents.state.aliases, SizeIs(1));
  EXPECT_EQ(contents.state.aliases.at("b").set_time, At(2));
  EXPECT_THAT(contents.state.pins, ElementsAre(Pair(FullKey("y"), "/m/y")));
  EXPECT_EQ(Read(contents.image.Text()).image.Text(), contents.image.Text());
}

TEST(ReadJournal, TornAtAnyByteKeepsWhatIsComplete) {
  const std::vector<std::string> lines = SmallJournal();
  const std::string bytes = Joined(lines);
  size_t complete = 0;  // lines
  size_t complete_bytes = 0;
  for (size_t size = 0; size <= bytes.size(); ++size) {
    // A line is there once all but its line feed is.
    while (complete < lines.size() && complete_bytes + lines[complete].size() - 1 <= size) {
      complete_bytes += lines[complete++].size();
    }
    const JournalContents contents = Read(bytes.substr(0, size));
    EXPECT_FALSE(contents.IsDamaged()) << size;
    EXPECT_EQ(contents.IsWhole(), size > 0 && size == complete_bytes) << size;
    std::vector<std::string> expected = RecordsOf(lines);
    expected.resize(complete > 0 ? complete - 1 : 0);
    EXPECT_THAT(TextOf(contents.state), ElementsAreArray(expected)) << size;
  }
}

TEST(ReadJournal, WithAnyBitChangedLosesOneRecordAtMost) {
  const std::vector<std::string> lines = SmallJournal();
  const std::string bytes = Joined(lines);
  size_t line = 0;
  size_t line_end = lines[0].size();
  for (size_t position = 0; position < bytes.size(); ++position) {
    if (position == line_end) line_end += lines[++line].size();
    // A line feed costs nothing: what is around it can be told apart.
    const bool in_text = position + 1 < line_end;
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = bytes;
      changed[position] = static_cast<char>(changed[position] ^ (1 << bit));
      const JournalContents contents = Read(changed);
      EXPECT_FALSE(contents.IsWhole()) << position << " " << bit;
      ASSERT_THAT(TextOf(contents.state), ElementsAreArray(RecordsOf(lines, in_text ? line : 0)))
          << "byte " << position << " bit " << bit << " of line " << line;
    }
  }
}

TEST(ReadJournal, WithAnyByteLeftOutLosesOneRecordAtMost) {
  const std::vector<std::string> lines = SmallJournal();
  const std::string bytes = Joined(lines);
  for (size_t position = 0; position < bytes.size(); ++position) {
    std::string changed = bytes;
    changed.erase(position, 1);
    const JournalContents contents = Read(changed);
    EXPECT_FALSE(contents.IsWhole()) << position;
    EXPECT_GE(TextOf(contents.state).size(), lines.size() - 2) << position;
  }
}

TEST(ReadJournal, PassesOverGarbageAndLinesOfANewerVersion) {
  std::vector<std::string> lines = SmallJournal();
  const std::vector<std::string> records = RecordsOf(lines);
  lines.insert(lines.begin() + 5, "\xFF\xFF garbage\n");
  lines.insert(lines.begin() + 3, MakeLine(R"({"something_new":{"a":1}})"));
  lines.insert(lines.begin() + 2, "\n");
  const JournalContents contents = Read(Joined(lines));
  EXPECT_EQ(contents.damaged_lines, 3u);
  EXPECT_THAT(TextOf(contents.state), ElementsAreArray(records));
}

TEST(ReadJournal, PassesOverLinesThatAreTooLong) {
  std::vector<std::string> lines = SmallJournal();
  const std::vector<std::string> records = RecordsOf(lines);
  lines.insert(lines.begin() + 3, std::string(3 * kMaxLineBytes, 'x') + "\n");
  const JournalContents contents = Read(Joined(lines));
  EXPECT_EQ(contents.damaged_lines, 1u);
  EXPECT_THAT(TextOf(contents.state), ElementsAreArray(records));
}

TEST(ReadJournal, TakesLinesOfTheGreatestLength) {
  const size_t overhead = Entry(SetAliasAt("a", 1, 1)).line.size() - 1;
  const Entry entry(SetAliasAt("a", 1, kMaxLineBytes - overhead));
  ASSERT_EQ(entry.line.size(), kMaxLineBytes);
  const JournalContents contents = Read(Entry(Header{}).line + entry.line);
  EXPECT_TRUE(contents.IsWhole());
  EXPECT_THAT(contents.state.aliases, SizeIs(1));
}

TEST(ReadJournal, DoesNotTakeTheWordsOfARecordForARecord) {
  residency::Event event = PlainEvent(1);
  event.message = Entry(residency::SetPin{FullKey("planted")}).line;
  std::string line = Entry(event).line;
  line[0] = line[0] == '0' ? '1' : '0';
  const JournalContents contents = Read(Entry(Header{}).line + line);
  EXPECT_THAT(TextOf(contents.state), IsEmpty());
  EXPECT_EQ(contents.damaged_lines, 1u);
}

TEST(ReadJournal, OfANewerVersionIsAsOfAnEmptyOne) {
  const JournalContents contents =
      Read(Entry(Header{kFormatVersion + 1}).line + Entry(SetAliasAt("a", 1)).line);
  EXPECT_EQ(contents.newer_version, kFormatVersion + 1);
  EXPECT_TRUE(contents.IsDamaged());
  EXPECT_THAT(TextOf(contents.state), IsEmpty());
  EXPECT_EQ(contents.image.Text(), Entry(Header{}).line);
}

TEST(ReadJournal, KeepsTheLastEvents) {
  std::string bytes = Entry(Header{}).line;
  const uint64_t count = 2 * Image::kMaxEvents + 7;
  for (uint64_t i = 1; i <= count; ++i) bytes += Entry(PlainEvent(i)).line;
  const JournalContents contents = Read(bytes);
  ASSERT_THAT(contents.state.events, SizeIs(Image::kMaxEvents));
  EXPECT_EQ(contents.state.events.front().sequence, count - Image::kMaxEvents + 1);
  EXPECT_EQ(contents.state.events.back().sequence, count);
  EXPECT_THAT(TextOf(Read(contents.image.Text()).state), ElementsAreArray(TextOf(contents.state)));
}

TEST(ReadJournal, FailsWhereReadingDoes) { EXPECT_FALSE(ReadJournal(-1).ok()); }

}  // namespace
}  // namespace modeld::state
