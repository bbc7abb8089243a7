#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "wire/framed_socket.h"

namespace modeld::wire {
namespace {

using ::testing::HasSubstr;

class UnixSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char directory[] = "/tmp/modeld-XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    directory_ = directory;
    path_ = directory_ + "/s";
  }
  void TearDown() override {
    unlink(path_.c_str());
    rmdir(directory_.c_str());
  }

  UniqueFd Listen(int backlog) {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(fd.get(), backlog), 0);
    return fd;
  }

  std::string directory_;
  std::string path_;
};

TEST_F(UnixSocketTest, ConnectsAndKnowsThePeer) {
  const UniqueFd listener = Listen(1);
  const auto client = ConnectUnix(path_);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_NE(fcntl(client->get(), F_GETFD) & FD_CLOEXEC, 0);
  const UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const auto peer = GetPeerCredentials(server.get());
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(peer->uid, geteuid());
  EXPECT_EQ(peer->gid, getegid());
}

TEST_F(UnixSocketTest, SeesWhichProcessConnected) {
  const UniqueFd listener = Listen(1);
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  UniqueFd reader(pipe_fds[0]);
  UniqueFd writer(pipe_fds[1]);
  const pid_t child = fork();
  if (child == 0) {
    writer.reset();
    const auto client = ConnectUnix(path_);
    char end;
    _exit(client.ok() && read(reader.get(), &end, 1) == 0 ? 0 : 1);
  }
  const UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const auto peer = GetPeerCredentials(server.get());
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->pid, child);
  writer.reset();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(UnixSocketTest, WaitsForAFullBacklog) {
  const UniqueFd listener = Listen(0);
  // More than the backlog: the later ones can only come through once the earlier are accepted.
  constexpr int kClients = 8;
  std::vector<std::thread> clients;
  std::vector<absl::Status> statuses(kClients);
  for (absl::Status& status : statuses) {
    clients.emplace_back([this, &status] { status = ConnectUnix(path_).status(); });
  }
  for (int i = 0; i < kClients; ++i) {
    const UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_TRUE(server.valid());
  }
  for (std::thread& client : clients) client.join();
  for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
}

TEST_F(UnixSocketTest, IsUnavailableWhereThereIsNothing) {
  const auto status = ConnectUnix(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
  EXPECT_EQ(ConnectUnix(path_ + "/below").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(UnixSocketTest, IsUnavailableWhereNobodyListens) {
  Listen(1).reset();
  const auto status = ConnectUnix(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
}

TEST_F(UnixSocketTest, IsDeniedWithoutThePermission) {
  if (geteuid() == 0) GTEST_SKIP() << "root may connect everywhere";
  const UniqueFd listener = Listen(1);
  ASSERT_EQ(chmod(path_.c_str(), 0), 0);
  EXPECT_EQ(ConnectUnix(path_).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(UnixSocketTest, RefusesPathsThatNoSocketCanHave) {
  const std::string longest = "/tmp/" + std::string(102, 'x');
  ASSERT_EQ(longest.size(), 107u);
  EXPECT_EQ(ConnectUnix(longest).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ConnectUnix(longest + "x").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ConnectUnix("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ConnectUnix(std::string("/tmp/\0x", 7)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(UnixPair, IsConnectedAndClosesOnExec) {
  const auto pair = UnixPair();
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_NE(fcntl(pair->first.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(fcntl(pair->second.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(GetPeerCredentials(pair->first.get())->pid, getpid());
}

TEST(PeerCredentials, OfNoSocketFail) { EXPECT_FALSE(GetPeerCredentials(-1).ok()); }

}  // namespace
}  // namespace modeld::wire
