#include "wire/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <thread>
#include <utility>

namespace modeld::wire {
namespace {

using ::testing::HasSubstr;

std::string_view Text(const Mapping& mapping) {
  return {reinterpret_cast<const char*>(mapping.data()), mapping.size_bytes()};
}

UniqueFd UnsealedMemfd(size_t bytes) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_TRUE(fd.valid());
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}

TEST(Memfd, HoldsTheBytesAndIsSealed) {
  const auto fd = MakeSealedMemfd("table", "some bytes");
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_TRUE(CheckSealed(fd->get(), 10).ok());
  EXPECT_NE(fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
  const auto mapping = MapReadOnly(fd->get(), 10);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_EQ(Text(*mapping), "some bytes");
}

TEST(Memfd, RefusesEveryChangeOnceSealed) {
  const auto fd = MakeSealedMemfd("table", "some bytes");
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_LT(pwrite(fd->get(), "x", 1, 0), 0);
  EXPECT_LT(ftruncate(fd->get(), 5), 0);
  EXPECT_LT(ftruncate(fd->get(), 50), 0);
  EXPECT_EQ(mmap(nullptr, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd->get(), 0), MAP_FAILED);
  EXPECT_LT(fcntl(fd->get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
}

TEST(Memfd, MayBeEmptyAndHaveALongName) {
  const auto fd = MakeSealedMemfd(std::string(1000, 'n'), "");
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_TRUE(CheckSealed(fd->get(), 0).ok());
  const auto mapping = MapReadOnly(fd->get(), 0);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_TRUE(mapping->bytes().empty());
}

TEST(Memfd, MappedWritableCannotBeSealed) {
  const UniqueFd fd = UnsealedMemfd(4096);
  void* address = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(address, MAP_FAILED);
  {
    const Mapping writable(address, 4096);
    EXPECT_EQ(SealMemfd(fd.get(), std::chrono::milliseconds(0)).code(),
              absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_TRUE(SealMemfd(fd.get()).ok());
  EXPECT_TRUE(SealMemfd(fd.get()).ok()) << "twice does no harm";
  EXPECT_TRUE(CheckSealed(fd.get(), 4096).ok());
}

// The kernel itself may hold pages for a moment: the same EBUSY as that of a mapping.
TEST(Memfd, IsSealedWhenItIsNotInUseAnyMore) {
  const UniqueFd fd = UnsealedMemfd(4096);
  Mapping writable(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), 4096);
  std::promise<void> tried;
  std::thread user([&] {
    tried.get_future().wait();
    writable.Unmap();
  });
  EXPECT_FALSE(SealMemfd(fd.get(), std::chrono::milliseconds(0)).ok());
  tried.set_value();
  EXPECT_TRUE(SealMemfd(fd.get()).ok());
  user.join();
}

TEST(CheckSealed, SaysWhichSealIsMissing) {
  const UniqueFd fd = UnsealedMemfd(10);
  auto status = CheckSealed(fd.get(), 10);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("WRITE GROW SHRINK"));
  ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
  status = CheckSealed(fd.get(), 10);
  EXPECT_THAT(std::string(status.message()), HasSubstr("WRITE"));
  EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("GROW")));
}

TEST(CheckSealed, IsNotSatisfiedWithASealAgainstFutureWritesOnly) {
  const UniqueFd fd = UnsealedMemfd(10);
  ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), 0);
  EXPECT_EQ(CheckSealed(fd.get(), 10).code(), absl::StatusCode::kDataLoss);
}

TEST(CheckSealed, RefusesAnotherSize) {
  const auto fd = MakeSealedMemfd("table", "some bytes");
  ASSERT_TRUE(fd.ok()) << fd.status();
  for (const uint64_t size : {uint64_t{0}, uint64_t{9}, uint64_t{11}, ~uint64_t{0}}) {
    EXPECT_EQ(CheckSealed(fd->get(), size).code(), absl::StatusCode::kDataLoss) << size;
  }
}

TEST(CheckSealed, RefusesWhatIsNoMemfd) {
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  const UniqueFd reader(pipe_fds[0]);
  const UniqueFd writer(pipe_fds[1]);
  EXPECT_EQ(CheckSealed(reader.get(), 0).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CheckSealed(-1, 0).code(), absl::StatusCode::kDataLoss);
}

TEST(Mapping, MovesItsOwnership) {
  const auto fd = MakeSealedMemfd("table", "some bytes");
  ASSERT_TRUE(fd.ok()) << fd.status();
  auto first = MapReadOnly(fd->get(), 10);
  ASSERT_TRUE(first.ok()) << first.status();
  Mapping second = std::move(*first);
  EXPECT_EQ(first->data(), nullptr);
  EXPECT_EQ(first->size_bytes(), 0u);
  Mapping third;
  third = std::move(second);
  EXPECT_EQ(Text(third), "some bytes");
  third.Unmap();
  EXPECT_EQ(third.data(), nullptr);
}

TEST(Mapping, OutlivesItsDescriptor) {
  Mapping mapping;
  {
    const auto fd = MakeSealedMemfd("table", "some bytes");
    ASSERT_TRUE(fd.ok()) << fd.status();
    mapping = *MapReadOnly(fd->get(), 10);
  }
  EXPECT_EQ(Text(mapping), "some bytes");
}

TEST(Mapping, IsReadOnly) {
  const auto fd = MakeSealedMemfd("table", "some bytes");
  ASSERT_TRUE(fd.ok()) << fd.status();
  const auto mapping = MapReadOnly(fd->get(), 10);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // whatever a sanitizer put there
    *const_cast<volatile std::byte*>(mapping->data()) = std::byte{0};
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
  EXPECT_EQ(Text(*mapping), "some bytes");
}

TEST(Mapping, OfNoDescriptorFails) { EXPECT_FALSE(MapReadOnly(-1, 10).ok()); }

}  // namespace
}  // namespace modeld::wire
