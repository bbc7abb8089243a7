#include "rpc/peer_listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/manual_clock.h"
#include "harness.h"
#include "rpc/connection_table.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::rpc {
namespace {

constexpr uid_t kStranger = 54'321;
constexpr gid_t kTeam = 54'400;

// Connects as somebody else, says something and waits to be told or hung up on. What came back: 'x'
// hung up without a word, 'w' a word, 'e' not even connected. REQUIRES: root.
//
// To the kernel, credentials belong to a thread; it is the C library that makes all threads of a
// process change theirs. So a thread is enough to be somebody else, and nothing has to fork beside
// gRPC's threads.
char TalkAs(uid_t uid, gid_t supplementary_group, const std::string& path) {
  char answer = 'e';
  std::thread([&] {
    ::syscall(SYS_setgroups, 1, &supplementary_group);
    ::syscall(SYS_setresgid, uid, uid, uid);
    ::syscall(SYS_setresuid, uid, uid, uid);
    const auto connection = wire::ConnectUnix(path);
    if (!connection.ok()) return;
    // The peer may be gone already, and that is an answer too.
    [[maybe_unused]] const ssize_t sent = ::send(connection->get(), "hello", 5, MSG_NOSIGNAL);
    char byte = 0;
    answer = ::read(connection->get(), &byte, 1) == 1 ? 'w' : 'x';
  }).join();
  return answer;
}

class PeerListenerTest : public ::testing::Test {
 protected:
  void Start(PeerPolicy policy) {
    auto socket = base::UnixListener::Bind(path_, 0666);
    ASSERT_TRUE(socket.ok()) << socket.status();
    // Strangers may reach the socket; the policy is what is tested.
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
    auto listener = PeerListener::Start(
        *std::move(socket), std::move(policy), kept_fds_, base::SystemClock(),
        [this](wire::UniqueFd fd, const wire::PeerCredentials& peer) {
          non_blocking_ = (::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0;
          last_pid_ = peer.pid;
          [[maybe_unused]] const ssize_t sent = ::send(fd.get(), "w", 1, MSG_NOSIGNAL);
          ++admitted_;
        },
        [this](wire::UniqueFd, const absl::Status& why) {
          reason_ = wire::GetReason(why);
          ++refused_;
        });
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }

  test::TempDir directory_;
  const std::string path_ = directory_ / "s";
  std::atomic<int> admitted_{0};
  std::atomic<int> refused_{0};
  std::atomic<wire::Reason> reason_{wire::Reason::kUnknown};
  uint64_t kept_fds_ = 0;
  std::atomic<bool> non_blocking_{false};
  std::atomic<pid_t> last_pid_{0};
  std::vector<wire::UniqueFd> taken_;  // by the test
  std::unique_ptr<PeerListener> listener_;
};

TEST_F(PeerListenerTest, HandsOverNonBlockingConnectionsWithWhoIsBehindThem) {
  Start({});
  const auto connection = wire::ConnectUnix(path_);
  ASSERT_TRUE(connection.ok());
  EXPECT_TRUE(Eventually([&] { return admitted_ == 1; }));
  EXPECT_TRUE(non_blocking_);
  EXPECT_EQ(last_pid_, ::getpid());
}

TEST_F(PeerListenerTest, HangsUpOnAPeerThatIsNotListed) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root, to become somebody else";
  Start({.allow_uids = {kStranger + 1}, .allow_gids = {kTeam}});
  EXPECT_EQ(TalkAs(kStranger, kStranger, path_), 'x');
  EXPECT_EQ(refused_, 1);
  EXPECT_EQ(admitted_, 0);
}

TEST_F(PeerListenerTest, AdmitsAListedUserAndASupplementaryGroup) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root, to become somebody else";
  Start({.allow_uids = {kStranger}, .allow_gids = {kTeam}});
  EXPECT_EQ(TalkAs(kStranger, kStranger, path_), 'w');
  EXPECT_EQ(TalkAs(kStranger + 1, kTeam, path_), 'w');
  EXPECT_EQ(TalkAs(kStranger + 1, kStranger, path_), 'x');
}

TEST_F(PeerListenerTest, AsksThePolicyThatIsInForceWhenSomebodyConnects) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root, to become somebody else";
  Start({.allow_uids = {kStranger}, .allow_gids = {}});
  EXPECT_EQ(TalkAs(kStranger, kStranger, path_), 'w');
  listener_->SetPolicy({.allow_uids = {kStranger + 1}, .allow_gids = {}});
  EXPECT_EQ(TalkAs(kStranger, kStranger, path_), 'x');
  EXPECT_EQ(TalkAs(kStranger + 1, kStranger, path_), 'w');
}

TEST_F(PeerListenerTest, RefusesWhoComesAfterStopButKeepsThePath) {
  Start({});
  listener_->Stop();
  EXPECT_FALSE(wire::ConnectUnix(path_).ok());
  EXPECT_EQ(base::UnixListener::Bind(path_, 0666).status().code(),
            absl::StatusCode::kFailedPrecondition);
  listener_.reset();
  EXPECT_TRUE(base::UnixListener::Bind(path_, 0666).ok());
}

TEST_F(PeerListenerTest, RefusesWhoWouldTakeOneOfTheDescriptorsThatAreKept) {
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  kept_fds_ = 8;
  Start({});
  const rlimit low = {.rlim_cur = 64, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<wire::UniqueFd> clients;
  while (refused_ == 0 && clients.size() < 64) {
    const int before = admitted_;
    auto connection = wire::ConnectUnix(path_);
    if (!connection.ok()) break;
    clients.push_back(*std::move(connection));
    ASSERT_TRUE(Eventually([&] { return admitted_ > before || refused_ > 0; }));
    taken_.emplace_back(::dup(clients.back().get()));
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(refused_, 1);
  EXPECT_EQ(reason_, wire::Reason::kLimitReached);
  const int before = admitted_;
  EXPECT_TRUE(wire::ConnectUnix(path_).ok());
  EXPECT_TRUE(Eventually([&] { return admitted_ == before + 1; }));
}

TEST_F(PeerListenerTest, WaitsForDescriptorsWithoutSpinning) {
  Start({});
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  const wire::UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const wire::UniqueFd lowest_free(::dup(client.get()));
  const rlimit none = {.rlim_cur = static_cast<rlim_t>(lowest_free.get()),
                       .rlim_max = limit.rlim_max};
  const auto cpu_nanos = [] {
    timespec time = {};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
  };

  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto before = cpu_nanos();
  const int connected =
      ::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  // Nothing may come, for as long as there is no descriptor.
  pollfd polled = {.fd = client.get(), .events = POLLIN, .revents = 0};
  const int answered = ::poll(&polled, 1, 300);
  const auto spent = cpu_nanos() - before;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);

  EXPECT_EQ(connected, 0);
  EXPECT_EQ(answered, 0);
  EXPECT_EQ(admitted_, 0);
  EXPECT_LT(spent, 100'000'000);
  EXPECT_TRUE(Eventually([&] { return admitted_ == 1; }));
}

TEST(ConnectionTable, CountsWhatIsStillOpen) {
  base::ManualClock clock;
  ConnectionTable table(2, clock);
  auto first = wire::UnixPair();
  auto second = wire::UnixPair();
  auto third = wire::UnixPair();
  ASSERT_TRUE(first.ok() && second.ok() && third.ok());
  EXPECT_TRUE(table.Add(first->first.get()));
  EXPECT_TRUE(table.Add(second->first.get()));
  EXPECT_FALSE(table.Add(third->first.get()));
  // Whoever owns it now closes it without a word.
  second->first.reset();
  clock.Advance(std::chrono::seconds(1));
  EXPECT_TRUE(table.Add(third->first.get()));
}

TEST(ConnectionTable, IsNotFooledByADescriptorNumberThatIsTakenAgain) {
  base::ManualClock clock;
  ConnectionTable table(1, clock);
  auto first = wire::UnixPair();
  ASSERT_TRUE(first.ok());
  const int number = first->first.get();
  EXPECT_TRUE(table.Add(number));
  first->first.reset();
  auto other = wire::UnixPair();
  ASSERT_TRUE(other.ok());
  ASSERT_EQ(other->first.get(), number);
  EXPECT_TRUE(table.Add(other->second.get()));
}

}  // namespace
}  // namespace modeld::rpc
