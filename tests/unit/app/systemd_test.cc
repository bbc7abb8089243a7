#include "app/systemd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "support/temp_dir.h"
#include "wire/unique_fd.h"

namespace modeld::app {
namespace {

class SystemdTest : public ::testing::Test {
 public:
  SystemdTest() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string path = dir_ / "notify";
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)),
              0);
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~SystemdTest() override {
    ::unsetenv("NOTIFY_SOCKET");
    ::unsetenv("WATCHDOG_USEC");
    ::unsetenv("WATCHDOG_PID");
  }

 protected:
  std::string Received() {
    char bytes[256];
    const ssize_t count = ::recv(socket_.get(), bytes, sizeof(bytes), 0);
    return std::string(bytes, std::max<ssize_t>(count, 0));
  }

  test::TempDir dir_;
  wire::UniqueFd socket_;
};

TEST_F(SystemdTest, IsToldWhatHappens) {
  NotifyReady("serving");
  EXPECT_EQ(Received(), "READY=1\nSTATUS=serving");
  NotifyReloading("reading");
  EXPECT_EQ(Received(), "RELOADING=1\nSTATUS=reading");
  NotifyStopping("waiting");
  EXPECT_EQ(Received(), "STOPPING=1\nSTATUS=waiting");
  NotifyWatchdog();
  EXPECT_EQ(Received(), "WATCHDOG=1");
}

TEST_F(SystemdTest, SaysWhetherItWatches) {
  EXPECT_EQ(WatchdogInterval(), std::nullopt);
  ::setenv("WATCHDOG_USEC", "2000000", 1);
  EXPECT_EQ(WatchdogInterval(), std::chrono::seconds(2));
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(WatchdogInterval(), std::nullopt);
}

TEST(NoSystemd, IsNoError) {
  ::unsetenv("NOTIFY_SOCKET");
  NotifyReady("serving");
  NotifyStopping("waiting");
  EXPECT_EQ(WatchdogInterval(), std::nullopt);
}

}  // namespace
}  // namespace modeld::app
