// modeld may be killed at any moment: what it said is saved is there.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "samples.h"
#include "support/temp_dir.h"
#include "wire/unique_fd.h"

namespace modeld::state {
namespace {

constexpr int kNames = 4;
// So that the file is written anew every few dozen changes.
constexpr size_t kExtraBytes = 40'000;

std::string NameOf(int64_t number) { return "a" + std::to_string(number % kNames); }

// Saves until it is killed, from `first` on, and writes the number of each change that is saved.
[[noreturn]] void SaveForever(const std::string& directory, int64_t first, int to_parent) {
  const auto file = OpenOrFail(directory);
  for (int64_t number = first;; ++number) {
    file->OnEvent(PlainEvent(static_cast<uint64_t>(number)));
    file->Save(SetAliasAt(NameOf(number), number, kExtraBytes), [=](const absl::Status& status) {
      if (!status.ok() || ::write(to_parent, &number, sizeof(number)) != sizeof(number)) ::_exit(1);
    });
    // A few wait, so that some share a sync.
    if (number % 3 == 0 && !SaveAndWait(*file, residency::SetPin{FullKey("x")}).ok()) ::_exit(1);
  }
}

// The number of the last change that the child says is saved; it is killed after `count` of them.
int64_t KillAfter(const std::string& directory, int64_t first, int count) {
  int pipe_fds[2];
  EXPECT_EQ(::pipe(pipe_fds), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe_fds[0]);
    SaveForever(directory, first, pipe_fds[1]);
  }
  ::close(pipe_fds[1]);
  const wire::UniqueFd from_child(pipe_fds[0]);
  int64_t last = first - 1;
  int64_t number = 0;
  for (int seen = 0; ::read(from_child.get(), &number, sizeof(number)) == sizeof(number);) {
    EXPECT_EQ(number, last + 1);
    last = number;
    if (++seen == count) ::kill(child, SIGKILL);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  return last;
}

TEST(Crash, LosesNothingThatWasSaved) {
  const test::TempDir dir;
  int64_t next = 1;
  for (const int count : {1, 2, 10, 25, 26, 27, 28, 50, 75, 100}) {
    const int64_t last = KillAfter(dir.path(), next, count);
    ASSERT_GE(last, next);
    const auto file = OpenOrFail(dir.path());
    EXPECT_THAT(file->notes(), ::testing::IsEmpty());
    for (int64_t number = std::max<int64_t>(1, last - kNames + 1); number <= last; ++number) {
      const auto& aliases = file->loaded().aliases;
      const auto alias = aliases.find(NameOf(number));
      ASSERT_NE(alias, aliases.end()) << number;
      EXPECT_GE(alias->second.set_time, At(number));
      EXPECT_EQ(alias->second.content_key.size(), kExtraBytes);
    }
    // Those that were asked for and not answered may be there too.
    for (const auto& [name, alias] : file->loaded().aliases) {
      next = std::max<int64_t>(next, alias.set_time.time_since_epoch().count() + 1);
    }
    EXPECT_LE(next, last + 1 + 8);
  }
}

}  // namespace
}  // namespace modeld::state
