// Somebody renames and relinks under a root while it is resolved: what comes out never lies
// outside.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>

#include "reference/resolver.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::reference {
namespace {

using wire::Reason;

// Does something over and over until it goes out of scope.
class Meanwhile {
 public:
  explicit Meanwhile(std::function<void()> action)
      : thread_([this, action = std::move(action)] {
          while (!stop_.load()) {
            action();
            rounds_.fetch_add(1);
          }
        }) {}
  ~Meanwhile() {
    stop_.store(true);
    thread_.join();
  }
  int rounds() const { return rounds_.load(); }

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<int> rounds_ = 0;
  std::thread thread_;
};

void Exchange(const std::string& a, const std::string& b) {
  ASSERT_EQ(::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE), 0)
      << a << " " << b;
}

struct Counts {
  int opened = 0;
  int refused = 0;
};

// Resolves until both outcomes have been seen often, against `swap` in another thread.
Counts Race(Resolver& resolver, const std::string& reference, const std::function<void()>& swap) {
  constexpr int kEnough = 300;
  constexpr int kMost = 200'000;
  Counts counts;
  const Meanwhile swapping(swap);
  for (int i = 0; i < kMost && (counts.opened < kEnough || counts.refused < kEnough); ++i) {
    const auto checkpoint = resolver.Resolve(reference);
    if (checkpoint.ok()) {
      ++counts.opened;
      char bytes[16] = {};
      EXPECT_GT(::pread((*checkpoint)->files[0].fd.get(), bytes, sizeof(bytes) - 1, 0), 0);
      EXPECT_STREQ(bytes, "allowed");
    } else {
      ++counts.refused;
      const Reason reason = wire::GetReason(checkpoint.status());
      EXPECT_TRUE(reason == Reason::kPathNotAllowed || reason == Reason::kCheckpointChanged ||
                  reason == Reason::kCheckpointNotFound || reason == Reason::kFormatUnsupported)
          << checkpoint.status();
    }
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(swapping.rounds(), 0);
  return counts;
}

class ResolverRace : public ::testing::Test {
 protected:
  ResolverRace() {
    dir_.Write("root/d/m", "allowed");
    dir_.Write("out/m", "secret!");
  }
  test::TempDir dir_;
  Resolver resolver_{ResolverOptions{.roots = {dir_ / "root"}}};
};

TEST_F(ResolverRace, AFileThatTakesTurnsWithASymlinkOutside) {
  dir_.Symlink("../../out/m", "root/d/link");
  const auto counts =
      Race(resolver_, "d/m", [&] { Exchange(dir_ / "root/d/m", dir_ / "root/d/link"); });
  EXPECT_GT(counts.opened, 0);
  EXPECT_GT(counts.refused, 0);
}

TEST_F(ResolverRace, ADirectoryThatTakesTurnsWithASymlinkOutside) {
  dir_.Symlink("../out", "root/link");
  const auto counts =
      Race(resolver_, "d/m", [&] { Exchange(dir_ / "root/d", dir_ / "root/link"); });
  EXPECT_GT(counts.opened, 0);
  EXPECT_GT(counts.refused, 0);
}

TEST_F(ResolverRace, ADirectoryThatIsMovedOutAndBack) {
  const auto counts = Race(resolver_, "d/m", [&] {
    std::filesystem::rename(dir_ / "root/d", dir_ / "moved");
    std::filesystem::rename(dir_ / "moved", dir_ / "root/d");
  });
  EXPECT_GT(counts.opened, 0);
  EXPECT_GT(counts.refused, 0);
}

TEST_F(ResolverRace, AFileThatTakesTurnsWithAFifoNeverBlocks) {
  ASSERT_EQ(::mkfifo((dir_ / "root/d/fifo").c_str(), 0600), 0);
  const auto counts =
      Race(resolver_, "d/m", [&] { Exchange(dir_ / "root/d/m", dir_ / "root/d/fifo"); });
  EXPECT_GT(counts.opened, 0);
  EXPECT_GT(counts.refused, 0);
}

TEST_F(ResolverRace, AFileThatIsReplacedAllTheTimeIsOpenedAllTheSame) {
  int round = 0;
  const Meanwhile replacing([&] {
    const std::string next = dir_.Write("root/d/next" + std::to_string(round++ % 2), "allowed");
    std::filesystem::rename(next, dir_ / "root/d/m");
  });
  int opened = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto checkpoint = resolver_.Resolve("d/m");
    if (checkpoint.ok()) {
      ++opened;
    } else {
      EXPECT_EQ(wire::GetReason(checkpoint.status()), Reason::kCheckpointChanged)
          << checkpoint.status();
    }
  }
  EXPECT_GT(opened, 1900);
}

// Two whole checkpoints, one in the place of the other by turns: never a file of each.
TEST_F(ResolverRace, ADirectoryThatTakesTurnsWithAnotherIsNeverMixed) {
  for (const std::string side : {"x", "y"}) {
    dir_.Write("root/" + side + "/model-00001-of-00002.safetensors", side);
    dir_.Write("root/" + side + "/model-00002-of-00002.safetensors", side);
    dir_.Write("root/" + side + "/config.json", side);
  }
  const Meanwhile swapping([&] { Exchange(dir_ / "root/x", dir_ / "root/y"); });
  int opened = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto checkpoint = resolver_.Resolve("x");
    if (!checkpoint.ok()) {
      EXPECT_EQ(wire::GetReason(checkpoint.status()), Reason::kCheckpointChanged)
          << checkpoint.status();
      continue;
    }
    ++opened;
    ASSERT_EQ((*checkpoint)->files.size(), 3u);
    std::string sides;
    for (const plan::OpenFile& file : (*checkpoint)->files) {
      char byte = 0;
      ASSERT_EQ(::pread(file.fd.get(), &byte, 1, 0), 1);
      sides += byte;
    }
    EXPECT_TRUE(sides == "xxx" || sides == "yyy") << sides;
  }
  EXPECT_GT(opened, 100);
}

TEST_F(ResolverRace, ACompanionThatTakesTurnsWithASymlinkOutside) {
  dir_.Write("root/d/model.safetensors", "allowed");
  dir_.Write("root/d/config.json", "allowed");
  dir_.Symlink("../../out/m", "root/d/link");
  int opened = 0;
  int refused = 0;
  const Meanwhile swapping([&] { Exchange(dir_ / "root/d/config.json", dir_ / "root/d/link"); });
  for (int i = 0; i < 200'000 && (opened < 100 || refused < 100); ++i) {
    const auto checkpoint = resolver_.Resolve("d");
    if (!checkpoint.ok()) {
      ++refused;
      const Reason reason = wire::GetReason(checkpoint.status());
      EXPECT_TRUE(reason == Reason::kPathNotAllowed || reason == Reason::kCheckpointChanged)
          << checkpoint.status();
      continue;
    }
    ++opened;
    for (const plan::OpenFile& file : (*checkpoint)->files) {
      char bytes[8] = {};
      EXPECT_EQ(::pread(file.fd.get(), bytes, 7, 0), 7);
      EXPECT_STREQ(bytes, "allowed");
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(opened, 0);
  EXPECT_GT(refused, 0);
}

TEST_F(ResolverRace, RenamesElsewhereDoNotMatter) {
  dir_.Mkdir("elsewhere/x");
  const Meanwhile renaming([&] {
    std::filesystem::rename(dir_ / "elsewhere/x", dir_ / "elsewhere/y");
    std::filesystem::rename(dir_ / "elsewhere/y", dir_ / "elsewhere/x");
  });
  for (int i = 0; i < 5000; ++i) {
    const auto checkpoint = resolver_.Resolve(dir_ / "root/d/../d/m");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  }
}

}  // namespace
}  // namespace modeld::reference
