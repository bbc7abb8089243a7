#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"
#include "wire/memfd.h"

namespace modeld::plan {
namespace {

OpenCheckpoint Checkpoint(std::vector<std::pair<std::string, FileIdentity>> files) {
  OpenCheckpoint checkpoint;
  for (auto& [path, identity] : files) {
    checkpoint.files.push_back(
        {.path = path, .fd = wire::UniqueFd(), .identity = identity, .name = path});
  }
  return checkpoint;
}

constexpr FileIdentity kFile = {
    .device = 1, .inode = 2, .size_bytes = 3, .mtime_ns = -4, .ctime_ns = 5};

TEST(OpenCheckpoint, EqualFilesHaveEqualKeysWhateverTheyAreCalledByTheCaller) {
  OpenCheckpoint a = Checkpoint({{"/m/a", kFile}});
  OpenCheckpoint b = Checkpoint({{"/m/a", kFile}});
  a.reference = "a";
  b.reference = "file:///m/a";
  EXPECT_EQ(a.Key(), b.Key());
}

TEST(OpenCheckpoint, EveryPartOfTheIdentityIsInTheKey) {
  const std::string key = Checkpoint({{"/m/a", kFile}}).Key();
  const auto changed = [&key](auto member) {
    FileIdentity other = kFile;
    ++(other.*member);
    return Checkpoint({{"/m/a", other}}).Key() != key;
  };
  EXPECT_TRUE(changed(&FileIdentity::device));
  EXPECT_TRUE(changed(&FileIdentity::inode));
  EXPECT_TRUE(changed(&FileIdentity::size_bytes));
  EXPECT_TRUE(changed(&FileIdentity::mtime_ns));
  EXPECT_TRUE(changed(&FileIdentity::ctime_ns));
  EXPECT_NE(Checkpoint({{"/m/b", kFile}}).Key(), key);
}

TEST(OpenCheckpoint, NeitherOrderNorNumberOfFilesNorAStrangePathIsMistaken) {
  const std::string ab = Checkpoint({{"a", kFile}, {"b", kFile}}).Key();
  EXPECT_NE(ab, Checkpoint({{"b", kFile}, {"a", kFile}}).Key());
  EXPECT_NE(ab, Checkpoint({{"a", kFile}}).Key());
  // A path that spells what follows a path.
  EXPECT_NE(ab, Checkpoint({{"a:1:2:3:-4:5\n1:b", kFile}}).Key());
}

std::string SmallTable() {
  wire::TableBuilder builder;
  builder.AddRegion(100);
  const int64_t shape[] = {4};
  const int64_t strides[] = {1};
  builder.Add({.name = "t",
               .dtype = wire::DType::kF32,
               .shape = shape,
               .strides = strides,
               .region = 0,
               .offset = 2,
               .size_bytes = 16});
  return builder.Build();
}

TEST(SealedTable, CannotBeChangedAndIsReadInPlace) {
  const auto table = SealedTable::Make(SmallTable(), {});
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ((*table)->view().entry(0).name, "t");
  EXPECT_EQ((*table)->size_bytes(), SmallTable().size());
  EXPECT_TRUE(wire::CheckSealed((*table)->fd(), (*table)->size_bytes()).ok());
  EXPECT_EQ(write((*table)->fd(), "x", 1), -1);
}

TEST(SealedTable, CanBeMadeAgainFromItsDescriptor) {
  const auto table = SealedTable::Make(SmallTable(), {});
  ASSERT_TRUE(table.ok());
  const uint64_t size = (*table)->size_bytes();
  const auto again =
      SealedTable::FromFd(wire::UniqueFd(fcntl((*table)->fd(), F_DUPFD_CLOEXEC, 0)), size, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->view().size(), 1u);
  EXPECT_FALSE(
      SealedTable::FromFd(wire::UniqueFd(fcntl((*table)->fd(), F_DUPFD_CLOEXEC, 0)), size - 8, {})
          .ok());
}

TEST(SealedTable, RefusesAnUnsealedMemfd) {
  const std::string bytes = SmallTable();
  wire::UniqueFd fd(memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  EXPECT_FALSE(SealedTable::FromFd(std::move(fd), bytes.size(), {}).ok());
}

TEST(SealedTable, AppliesTheOptions) {
  EXPECT_FALSE(SealedTable::Make(SmallTable(), {.require_alignment = true}).ok());
  const uint64_t shorter[] = {17};
  EXPECT_FALSE(SealedTable::Make(SmallTable(), {.region_sizes = shorter}).ok());
  EXPECT_FALSE(SealedTable::Make("not a table", {}).ok());
}

TEST(LoadPlan, ResidentBytesAreThoseOfItsSegments) {
  LoadPlan plan;
  EXPECT_EQ(plan.resident_bytes(), 0u);
  plan.segment_sizes = {2 << 20, 4 << 20};
  EXPECT_EQ(plan.resident_bytes(), 6u << 20);
}

}  // namespace
}  // namespace modeld::plan
