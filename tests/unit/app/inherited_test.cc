#include "app/inherited.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "support/temp_dir.h"
#include "wire/memfd.h"
#include "wire/unique_fd.h"

namespace modeld::app {
namespace {

wire::UniqueFd ListenAt(const std::string& path) {
  wire::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(fd.get(), 1), 0);
  return fd;
}

// In a child, since the descriptors of a service are the first ones that a process has.
bool IsTakenApart(const std::string& path) {
  if (::setenv("LISTEN_FDS", "3", 1) != 0 ||
      ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1) != 0 ||
      ::setenv("LISTEN_FDNAMES", "modeld.socket:segment:connection", 1) != 0) {
    return false;
  }
  const Inherited inherited = TakeInherited();
  return inherited.sockets.size() == 1 && inherited.sockets[0].path == path &&
         inherited.sockets[0].fd.get() == 3 && inherited.stored.size() == 2 &&
         inherited.stored[0].name == "segment" && inherited.stored[0].fd.get() == 4 &&
         inherited.stored[1].name == "connection" && ::getenv("LISTEN_FDS") == nullptr &&
         TakeInherited().stored.empty();
}

TEST(Inherited, TellsSocketsThatListenFromWhatWasStored) {
  const test::TempDir dir;
  const std::string path = dir / "modeld.sock";
  // Out of the way of 3, 4 and 5.
  const auto far = [](const wire::UniqueFd& fd) { return ::fcntl(fd.get(), F_DUPFD, 64); };
  const int listening = far(ListenAt(path));
  const int stored = far(*wire::MakeSealedMemfd("segment", "bytes"));
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const int connection = far(wire::UniqueFd(pair[0]));
  const wire::UniqueFd peer(pair[1]);

  const pid_t child = ::fork();
  if (child == 0) {
    const bool placed =
        ::dup2(listening, 3) == 3 && ::dup2(stored, 4) == 4 && ::dup2(connection, 5) == 5;
    ::_exit(placed && IsTakenApart(path) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  for (const int fd : {listening, stored, connection}) ::close(fd);
}

TEST(Inherited, IsNothingWithoutAServiceManager) {
  ::unsetenv("LISTEN_FDS");
  const Inherited inherited = TakeInherited();
  EXPECT_TRUE(inherited.sockets.empty());
  EXPECT_TRUE(inherited.stored.empty());
  // Meant for another process.
  ::setenv("LISTEN_FDS", "1", 1);
  ::setenv("LISTEN_PID", "1", 1);
  EXPECT_TRUE(TakeInherited().stored.empty());
}

}  // namespace
}  // namespace modeld::app
