#include "app/machine_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace modeld::app {
namespace {

using ::testing::HasSubstr;

class MachineMemoryTest : public ::testing::Test {
 protected:
  MachineMemoryTest() {
    dir_.Write("proc/meminfo", "MemTotal:       24576000 kB\nMemFree:         1000 kB\n");
  }
  MachineMemory Get() {
    const auto memory = GetMachineMemory(dir_.path());
    EXPECT_TRUE(memory.ok()) << memory.status();
    return memory.value_or(MachineMemory{});
  }
  test::TempDir dir_;
};

TEST_F(MachineMemoryTest, IsTheMachinesWithoutALimit) {
  EXPECT_EQ(Get().bytes, uint64_t{24576000} * 1024);
  EXPECT_EQ(Get().source, "the machine");
  dir_.Write("proc/self/cgroup", "0::/user.slice\n");
  dir_.Write("sys/fs/cgroup/user.slice/memory.max", "max\n");
  EXPECT_EQ(Get().source, "the machine");
}

TEST_F(MachineMemoryTest, IsTheLeastLimitOfTheGroupsAbove) {
  dir_.Write("proc/self/cgroup", "0::/a/b/c\n");
  dir_.Write("sys/fs/cgroup/a/b/c/memory.max", "max\n");
  dir_.Write("sys/fs/cgroup/a/b/memory.max", "2097152\n");
  dir_.Write("sys/fs/cgroup/a/memory.max", "4194304\n");
  EXPECT_EQ(Get().bytes, 2097152u);
  EXPECT_THAT(Get().source, HasSubstr("/a/b/memory.max"));
}

TEST_F(MachineMemoryTest, IsAContainersLimitAtTheTopOfItsMount) {
  dir_.Write("proc/self/cgroup", "0::/docker/0123\n");
  dir_.Write("sys/fs/cgroup/memory.max", "1048576\n");
  EXPECT_EQ(Get().bytes, 1048576u);
}

TEST_F(MachineMemoryTest, KnowsTheFirstVersionOfCgroups) {
  dir_.Write("proc/self/cgroup", "9:cpu,cpuacct:/x\n5:memory:/x\n1:name=systemd:/x\n");
  dir_.Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  dir_.Write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "3145728\n");
  EXPECT_EQ(Get().bytes, 3145728u);
}

TEST_F(MachineMemoryTest, SaysWhatToDoWhereNothingIsKnown) {
  const test::TempDir empty;
  const auto memory = GetMachineMemory(empty.path());
  EXPECT_TRUE(absl::IsUnavailable(memory.status()));
  EXPECT_THAT(std::string(memory.status().message()), HasSubstr("host_capacity"));
}

TEST(MachineMemory, IsKnownHere) {
  const auto memory = GetMachineMemory();
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_GT(memory->bytes, uint64_t{64} << 20);
}

}  // namespace
}  // namespace modeld::app
