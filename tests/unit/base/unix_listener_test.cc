#include "base/unix_listener.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "support/temp_dir.h"
#include "wire/framed_socket.h"

namespace modeld::base {
namespace {

using testing::HasSubstr;

mode_t ModeOf(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

class UnixListenerTest : public testing::Test {
 protected:
  test::TempDir dir_;
  const std::string path_ = dir_ / "a.sock";
};

TEST_F(UnixListenerTest, AcceptsConnectionsWithoutWaiting) {
  auto listener = UnixListener::Bind(path_, 0600);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(listener->path(), path_);
  auto none = listener->Accept();
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
  const auto client = wire::ConnectUnix(path_);
  ASSERT_TRUE(client.ok()) << client.status();
  auto accepted = listener->Accept();
  ASSERT_TRUE(accepted.ok());
  EXPECT_TRUE(accepted->has_value());
}

TEST_F(UnixListenerTest, HasExactlyTheModeThatWasAskedForWhateverTheUmask) {
  for (const mode_t mask : {mode_t{0}, mode_t{022}, mode_t{077}}) {
    for (const mode_t mode : {mode_t{0600}, mode_t{0660}, mode_t{0666}}) {
      const mode_t before = ::umask(mask);
      auto listener = UnixListener::Bind(path_, mode);
      ::umask(before);
      ASSERT_TRUE(listener.ok()) << listener.status();
      EXPECT_EQ(ModeOf(path_), mode);
    }
  }
}

TEST_F(UnixListenerTest, RefusesASocketThatSomebodyServesAndSaysWho) {
  auto owner = UnixListener::Bind(path_, 0600);
  ASSERT_TRUE(owner.ok());
  const auto second = UnixListener::Bind(path_, 0600);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  const std::string message(second.status().message());
  EXPECT_THAT(message, HasSubstr(path_));
  EXPECT_THAT(message, HasSubstr("process " + std::to_string(::getpid())));
  EXPECT_THAT(message, HasSubstr("stop it"));
  EXPECT_TRUE(wire::ConnectUnix(path_).ok()) << "the owner's socket must still be there";
}

TEST_F(UnixListenerTest, TakesOverFromAProcessThatWasKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto listener = UnixListener::Bind(path_, 0600);
    if (::write(ready[1], listener.ok() ? "y" : "n", 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_FALSE(UnixListener::Bind(path_, 0600).ok());
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const auto listener = UnixListener::Bind(path_, 0600);
  EXPECT_TRUE(listener.ok()) << listener.status();
  EXPECT_TRUE(wire::ConnectUnix(path_).ok());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(UnixListenerTest, LeavesNothingBehindAndLetsTheNextOneBind) {
  for (int i = 0; i < 3; ++i) {
    auto listener = UnixListener::Bind(path_, 0600);
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener->Close();
    listener->Close();
    EXPECT_NE(::access(path_.c_str(), F_OK), 0);
    EXPECT_NE(::access((path_ + ".lock").c_str(), F_OK), 0);
  }
}

TEST_F(UnixListenerTest, TurnsAwayWhoWaitsAndWhoComes) {
  auto listener = UnixListener::Bind(path_, 0600);
  ASSERT_TRUE(listener.ok());
  const auto waiting = wire::ConnectUnix(path_);
  ASSERT_TRUE(waiting.ok());
  listener->TurnAway();
  char byte;
  EXPECT_EQ(::read(waiting->get(), &byte, 1), 0);
  EXPECT_FALSE(wire::ConnectUnix(path_).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(UnixListener::Bind(path_, 0600).status()));
}

TEST_F(UnixListenerTest, KeepsItsPathWhenItIsMoved) {
  auto listener = UnixListener::Bind(path_, 0600);
  ASSERT_TRUE(listener.ok());
  UnixListener moved = *std::move(listener);
  EXPECT_TRUE(wire::ConnectUnix(path_).ok());
  UnixListener assigned = *UnixListener::Bind(dir_ / "b.sock", 0600);
  assigned = std::move(moved);
  EXPECT_TRUE(wire::ConnectUnix(path_).ok());
  EXPECT_NE(::access((dir_ / "b.sock").c_str(), F_OK), 0);
}

// What a service manager listens on, for whoever it will start.
ListeningSocket PassedAt(const std::string& path) {
  ListeningSocket socket{.path = path, .fd = wire::UniqueFd(::socket(AF_UNIX, SOCK_STREAM, 0))};
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  EXPECT_EQ(::bind(socket.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
            0);
  EXPECT_EQ(::listen(socket.fd.get(), 16), 0);
  return socket;
}

TEST_F(UnixListenerTest, ServesASocketThatItWasGiven) {
  ListeningSocket passed = PassedAt(path_);
  const wire::UniqueFd kept(::dup(passed.fd.get()));
  const auto early = wire::ConnectUnix(path_);
  ASSERT_TRUE(early.ok()) << early.status();
  {
    auto listener = UnixListener::Adopt(std::move(passed));
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(listener->path(), path_);
    EXPECT_TRUE((*listener->Accept()).has_value()) << "who came before waits in it";
    EXPECT_FALSE((*listener->Accept()).has_value()) << "and nobody is waited for";
    EXPECT_NE(::fcntl(listener->fd(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_TRUE(absl::IsFailedPrecondition(
        UnixListener::Adopt({.path = path_, .fd = wire::UniqueFd(::dup(kept.get()))}).status()));
    UnixListener moved = *std::move(listener);
    EXPECT_TRUE(wire::ConnectUnix(path_).ok());
    moved.TurnAway();
    EXPECT_TRUE(wire::ConnectUnix(path_).ok()) << "for the next one that serves it";
  }
  EXPECT_TRUE(wire::ConnectUnix(path_).ok()) << "the path is somebody else's";
  EXPECT_NE(::access((path_ + ".lock").c_str(), F_OK), 0);
}

TEST_F(UnixListenerTest, DoesNotRemoveWhatIsNoSocket) {
  dir_.Write("a.sock", "precious");
  const auto listener = UnixListener::Bind(path_, 0600);
  EXPECT_EQ(listener.status().code(), absl::StatusCode::kFailedPrecondition) << listener.status();
  EXPECT_EQ(::access(path_.c_str(), F_OK), 0);
}

TEST_F(UnixListenerTest, RefusesPathsThatAreTooLongForASocket) {
  const std::string longest =
      dir_.path() + "/" + std::string(UnixListener::kMaxPathBytes - dir_.path().size() - 1, 'x');
  ASSERT_EQ(longest.size(), UnixListener::kMaxPathBytes);
  EXPECT_TRUE(UnixListener::Bind(longest, 0600).ok());
  const auto listener = UnixListener::Bind(longest + "x", 0600);
  EXPECT_TRUE(absl::IsInvalidArgument(listener.status())) << listener.status();
  EXPECT_THAT(std::string(listener.status().message()), HasSubstr("107"));
  EXPECT_FALSE(UnixListener::Bind("", 0600).ok());
}

TEST_F(UnixListenerTest, SaysWhenTheDirectoryIsMissing) {
  const auto listener = UnixListener::Bind(dir_ / "no/a.sock", 0600);
  EXPECT_TRUE(absl::IsNotFound(listener.status())) << listener.status();
}

}  // namespace
}  // namespace modeld::base
