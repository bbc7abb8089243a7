#include "footprint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>
#include "support/sanitizer.h"

namespace modeld::tools {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

int FilledMemfd(const char* name, std::uint64_t size_bytes) {
  const int fd = memfd_create(name, MFD_CLOEXEC);
  const std::vector<char> chunk(kMiB, 'x');
  for (std::uint64_t done = 0; done < size_bytes; done += kMiB) {
    EXPECT_EQ(write(fd, chunk.data(), kMiB), static_cast<ssize_t>(kMiB));
  }
  return fd;
}

// A forked process that has done `setup` and then sleeps until it is destroyed.
class Child {
 public:
  explicit Child(const std::function<void()>& setup) {
    int ready[2];
    EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      setup();
      if (write(ready[1], "x", 1) != 1) {
        _exit(1);
      }
      for (;;) {
        pause();
      }
    }
    char byte;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
  }
  ~Child() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

void MapAndRead(int fd, std::uint64_t size_bytes) {
  const auto* bytes =
      static_cast<const volatile char*>(mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, fd, 0));
  for (std::uint64_t i = 0; i < size_bytes; i += 4096) {
    (void)bytes[i];
  }
}

const Memfd* Find(const Footprint& footprint, const std::string& name) {
  for (const Memfd& memfd : footprint.memfds) {
    if (memfd.name == name) {
      return &memfd;
    }
  }
  return nullptr;
}

TEST(Footprint, CountsAMemfdOnceHoweverManyProcessesMapIt) {
  const int fd = FilledMemfd("weights", 32 * kMiB);
  const Child one([fd] { MapAndRead(fd, 32 * kMiB); });
  const Child two([fd] { MapAndRead(fd, 32 * kMiB); });
  const std::vector<pid_t> pids = {one.pid(), two.pid()};
  const auto footprint = MeasureFootprint(pids);
  ASSERT_TRUE(footprint.ok()) << footprint.status();
  ASSERT_NE(Find(*footprint, "weights"), nullptr);
  EXPECT_EQ(Find(*footprint, "weights")->bytes, 32 * kMiB);
  EXPECT_EQ(footprint->memfd_bytes(), 32 * kMiB);
  if (!test::kSanitized) {
    EXPECT_LT(footprint->own_bytes(), 16 * kMiB);
  }
  close(fd);
}

TEST(Footprint, CountsAMemfdThatIsOpenButMappedNowhere) {
  const int fd = FilledMemfd("idle", 8 * kMiB);
  const Child holder([] {});
  const std::vector<pid_t> pids = {holder.pid()};
  const auto footprint = MeasureFootprint(pids);
  ASSERT_TRUE(footprint.ok()) << footprint.status();
  ASSERT_NE(Find(*footprint, "idle"), nullptr);
  EXPECT_EQ(Find(*footprint, "idle")->bytes, 8 * kMiB);
  close(fd);
}

TEST(Footprint, FindsAMemfdThatIsMappedButOpenNowhere) {
  const int fd = FilledMemfd("mapped", 8 * kMiB);
  const Child worker([fd] {
    MapAndRead(fd, 8 * kMiB);
    close(fd);
  });
  close(fd);
  const std::vector<pid_t> pids = {worker.pid()};
  const auto footprint = MeasureFootprint(pids);
  ASSERT_TRUE(footprint.ok()) << footprint.status();
  ASSERT_NE(Find(*footprint, "mapped"), nullptr);
  EXPECT_EQ(Find(*footprint, "mapped")->bytes, 8 * kMiB);
}

TEST(Footprint, CountsWhatIsAllocatedNotTheLength) {
  const int fd = memfd_create("sparse", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, 1 << 30), 0);
  ASSERT_EQ(pwrite(fd, "x", 1, 0), 1);
  const Child holder([] {});
  const std::vector<pid_t> pids = {holder.pid()};
  const auto footprint = MeasureFootprint(pids);
  ASSERT_TRUE(footprint.ok()) << footprint.status();
  ASSERT_NE(Find(*footprint, "sparse"), nullptr);
  EXPECT_LE(Find(*footprint, "sparse")->bytes, 2 * kMiB);
  close(fd);
}

TEST(Footprint, CountsMemoryOfAProcessAsItsOwn) {
  const auto allocate = [] {
    void* block =
        mmap(nullptr, 64 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memset(block, 1, 64 * kMiB);
  };
  const Child heavy(allocate);
  const Child light([] {});
  const std::vector<pid_t> pids = {heavy.pid(), light.pid()};
  const auto footprint = MeasureFootprint(pids);
  ASSERT_TRUE(footprint.ok()) << footprint.status();
  const std::uint64_t difference =
      footprint->processes[0].own_bytes() - footprint->processes[1].own_bytes();
  EXPECT_GE(difference, 63 * kMiB);
  EXPECT_LE(difference, 66 * kMiB);
}

TEST(Footprint, SaysThatThereIsNoSuchProcess) {
  pid_t gone;
  {
    const Child child([] {});
    gone = child.pid();
  }
  const std::vector<pid_t> pids = {gone};
  const auto footprint = MeasureFootprint(pids);
  EXPECT_EQ(footprint.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(footprint.status().message().find(std::to_string(gone)), std::string::npos);
}

TEST(Footprint, TakesTheMappingAsAnUpperBoundWhereNoDescriptorCanBeSeen) {
  char directory[] = "/tmp/fpXXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::filesystem::path process = std::filesystem::path(directory) / "7";
  std::filesystem::create_directories(process / "fd");
  std::ofstream(process / "comm") << "worker\n";
  std::ofstream(process / "smaps_rollup") << "0-1 ---p 0 00:00 0 [rollup]\n"
                                             "Rss:    9999 kB\nPss:    300 kB\n"
                                             "Pss_Dirty: 7 kB\nPss_Anon: 100 kB\n"
                                             "Pss_Shmem:    200 kB\n";
  std::ofstream(process / "maps")
      << "7f0000000000-7f0000200000 r--p 00000000 00:01 42       /memfd:some weights (deleted)\n"
         "7f0000200000-7f0000300000 r--p 00000000 fe:00 43       /usr/lib/libc.so.6\n"
         "7f0000300000-7f0000400000 rw-p 00000000 00:00 0 \n";
  const std::vector<pid_t> pids = {7};
  const auto footprint = MeasureFootprint(pids, directory);
  std::filesystem::remove_all(directory);
  ASSERT_TRUE(footprint.ok()) << footprint.status();
  EXPECT_EQ(footprint->processes[0].program, "worker");
  EXPECT_EQ(footprint->own_bytes(), 100 * 1024u);
  ASSERT_EQ(footprint->memfds.size(), 1u);
  EXPECT_EQ(footprint->memfds[0].name, "some weights");
  EXPECT_EQ(footprint->memfds[0].inode, 42u);
  EXPECT_TRUE(footprint->memfds[0].estimated);
  EXPECT_EQ(footprint->total_bytes(), 100 * 1024 + 2 * kMiB);
}

}  // namespace
}  // namespace modeld::tools
