#include "app/fd_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "support/temp_dir.h"
#include "wire/memfd.h"
#include "wire/unique_fd.h"

namespace modeld::app {
namespace {

ino_t InodeOf(int fd) {
  struct stat status = {};
  EXPECT_EQ(::fstat(fd, &status), 0);
  return status.st_ino;
}

// The service manager's end of NOTIFY_SOCKET.
class FdStoreTest : public ::testing::Test {
 public:
  FdStoreTest() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string path = dir_ / "notify";
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)),
              0);
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
    around_.environment["NOTIFY_SOCKET"] = path;
    around_.environment["FDSTORE"] = "4";
  }
  ~FdStoreTest() override { ::unsetenv("NOTIFY_SOCKET"); }

 protected:
  struct Message {
    std::string text;
    wire::UniqueFd fd;
  };

  Message Received() const {
    char bytes[512];
    struct iovec part = {bytes, sizeof(bytes)};
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    const ssize_t count = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
    Message message;
    message.text.assign(bytes, static_cast<size_t>(std::max<ssize_t>(count, 0)));
    struct cmsghdr* const first = CMSG_FIRSTHDR(&header);
    if (first != nullptr && first->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(first), sizeof(fd));
      message.fd.reset(fd);
    }
    return message;
  }

  static std::shared_ptr<wire::UniqueFd> File() {
    auto fd = wire::MakeSealedMemfd("kept", "bytes");
    EXPECT_TRUE(fd.ok()) << fd.status();
    return std::make_shared<wire::UniqueFd>(*std::move(fd));
  }

  test::TempDir dir_;
  Surroundings around_;
  wire::UniqueFd socket_;
};

TEST_F(FdStoreTest, HandsOverEachDescriptorUnderItsName) {
  const auto store = FdStore::Find(around_, {});
  ASSERT_NE(store, nullptr);
  auto first = File();
  auto second = File();
  const ino_t inodes[] = {InodeOf(first->get()), InodeOf(second->get())};
  const auto both = std::make_shared<std::pair<decltype(first), decltype(second)>>(first, second);
  ASSERT_TRUE(store->Store({{"a", first->get()}, {"b", second->get()}}, both));
  first.reset();
  second.reset();
  for (const auto& [name, inode] : {std::pair{"a", inodes[0]}, std::pair{"b", inodes[1]}}) {
    const Message message = Received();
    EXPECT_EQ(message.text, std::string("FDSTORE=1\nFDPOLL=0\nFDNAME=") + name);
    ASSERT_TRUE(message.fd.valid());
    EXPECT_EQ(InodeOf(message.fd.get()), inode);
  }
  store->Remove({"b"});
  const Message message = Received();
  EXPECT_EQ(message.text, "FDSTOREREMOVE=1\nFDNAME=b");
  EXPECT_FALSE(message.fd.valid());
}

TEST_F(FdStoreTest, TakesNoMoreThanThereIsRoomFor) {
  std::vector<supervisor::NamedFd> inherited;
  inherited.push_back({"old", {}});
  const auto store = FdStore::Find(around_, inherited);
  ASSERT_NE(store, nullptr);
  const auto file = File();
  const int fd = file->get();
  EXPECT_FALSE(store->Store({{"a", fd}, {"b", fd}, {"c", fd}, {"d", fd}}, file));
  EXPECT_TRUE(store->Store({{"a", fd}, {"b", fd}, {"c", fd}}, file));
  EXPECT_FALSE(store->Store({{"d", fd}}, file));
  store->Remove({"old"});
  EXPECT_TRUE(store->Store({{"d", fd}}, file));
}

TEST_F(FdStoreTest, IsNotThereUnlessTheUnitSaysSo) {
  around_.environment["FDSTORE"] = "0";
  EXPECT_EQ(FdStore::Find(around_, {}), nullptr);
  around_.environment.erase("FDSTORE");
  EXPECT_EQ(FdStore::Find(around_, {}), nullptr);
  around_.environment["FDSTORE"] = "4";
  around_.environment.erase("NOTIFY_SOCKET");
  EXPECT_EQ(FdStore::Find(around_, {}), nullptr);
}

}  // namespace
}  // namespace modeld::app
