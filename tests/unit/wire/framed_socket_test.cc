#include "wire/framed_socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dirent.h>
#include <atomic>
#include <cstring>
#include <thread>

#include "wire/memfd.h"

namespace modeld::wire {
namespace {

using ::testing::HasSubstr;

struct RawHeader {
  uint32_t magic = 0x3146646d;
  uint32_t payload_bytes = 0;
  uint32_t fd_count = 0;
  uint32_t reserved = 0;
};

std::string HeaderBytes(RawHeader header) {
  return {reinterpret_cast<const char*>(&header), sizeof(header)};
}

size_t OpenFds() {
  size_t count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// Bytes and descriptors as a hostile peer would write them.
void SendRaw(int socket, std::string_view bytes, std::vector<int> fds = {}) {
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  struct iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    struct cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  ASSERT_EQ(sendmsg(socket, &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

void SetNonBlocking(int fd) { ASSERT_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0); }

class FramedSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = UnixPair();
    ASSERT_TRUE(pair.ok()) << pair.status();
    raw_ = pair->first.get();
    a_ = FramedSocket(std::move(pair->first), kMaxPayloadBytes);
    b_ = FramedSocket(std::move(pair->second), kMaxPayloadBytes);
  }

  static constexpr size_t kMaxPayloadBytes = 8 << 20;

  FramedSocket a_;
  FramedSocket b_;
  int raw_ = -1;  // a_'s descriptor, to write to b_ what Send would not
};

TEST_F(FramedSocketTest, CarriesAPayload) {
  ASSERT_TRUE(a_.Send("hello").ok());
  const auto frame = b_.Receive();
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->payload, "hello");
  EXPECT_TRUE(frame->fds.empty());
}

TEST_F(FramedSocketTest, CarriesAnEmptyPayload) {
  ASSERT_TRUE(a_.Send("").ok());
  ASSERT_TRUE(a_.Send("next").ok());
  EXPECT_EQ(b_.Receive()->payload, "");
  EXPECT_EQ(b_.Receive()->payload, "next");
}

TEST_F(FramedSocketTest, KeepsFramesApartAndInOrder) {
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(a_.Send(std::string(i, 'x')).ok());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(b_.Receive()->payload, std::string(i, 'x'));
}

TEST_F(FramedSocketTest, CarriesBothWaysAtOnce) {
  std::thread there([&] {
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(a_.Send("there").ok());
  });
  std::thread back([&] {
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(b_.Send("back").ok());
  });
  std::thread reader([&] {
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(a_.Receive()->payload, "back");
  });
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(b_.Receive()->payload, "there");
  there.join();
  back.join();
  reader.join();
}

TEST_F(FramedSocketTest, CarriesMoreThanTheSocketTakesAtOnce) {
  std::string payload(kMaxPayloadBytes, '\0');
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(i * 31 + i / 4096);
  const auto fd = MakeSealedMemfd("x", "with it");
  ASSERT_TRUE(fd.ok());
  std::thread sender([&] { EXPECT_TRUE(a_.Send(payload, std::vector{fd->get()}).ok()); });
  const auto frame = b_.Receive();
  sender.join();
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_TRUE(frame->payload == payload);
  EXPECT_EQ(frame->fds.size(), 1u);
}

TEST_F(FramedSocketTest, WaitsOnNonBlockingSockets) {
  SetNonBlocking(a_.fd());
  SetNonBlocking(b_.fd());
  const std::string payload(kMaxPayloadBytes, 'x');
  absl::StatusOr<Frame> frame = absl::UnknownError("");
  std::thread receiver([&] { frame = b_.Receive(); });
  EXPECT_TRUE(a_.Send(payload).ok());
  receiver.join();
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_TRUE(frame->payload == payload);
}

TEST_F(FramedSocketTest, CarriesDescriptorsInOrder) {
  const auto first = MakeSealedMemfd("first", "1");
  const auto second = MakeSealedMemfd("second", "22");
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE(a_.Send("two", std::vector{first->get(), second->get()}).ok());
  const auto frame = b_.Receive();
  ASSERT_TRUE(frame.ok()) << frame.status();
  ASSERT_EQ(frame->fds.size(), 2u);
  EXPECT_TRUE(CheckSealed(frame->fds[0].get(), 1).ok());
  EXPECT_TRUE(CheckSealed(frame->fds[1].get(), 2).ok());
  for (const UniqueFd& fd : frame->fds) EXPECT_NE(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(FramedSocketTest, CarriesAsManyDescriptorsAsTheKernelAllows) {
  const auto fd = MakeSealedMemfd("x", "x");
  ASSERT_TRUE(fd.ok());
  const size_t before = OpenFds();
  const std::vector<int> fds(kMaxFdsPerFrame, fd->get());
  ASSERT_TRUE(a_.Send("all", fds).ok());
  {
    const auto frame = b_.Receive();
    ASSERT_TRUE(frame.ok()) << frame.status();
    EXPECT_EQ(frame->fds.size(), kMaxFdsPerFrame);
    EXPECT_TRUE(CheckSealed(frame->fds.back().get(), 1).ok());
  }
  EXPECT_EQ(OpenFds(), before);
}

TEST_F(FramedSocketTest, RefusesToSendOneDescriptorMore) {
  const std::vector<int> fds(kMaxFdsPerFrame + 1, a_.fd());
  EXPECT_EQ(a_.Send("all", fds).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(a_.Send("still works").ok());
  EXPECT_EQ(b_.Receive()->payload, "still works");
}

TEST_F(FramedSocketTest, FailsToSendADescriptorThatIsNotOpen) {
  EXPECT_FALSE(a_.Send("bad", std::vector{-1}).ok());
  ASSERT_TRUE(a_.Send("still works").ok());
  EXPECT_EQ(b_.Receive()->payload, "still works");
}

// --- without waiting

TEST_F(FramedSocketTest, TryReceiveTakesWhatHasArrived) {
  EXPECT_EQ(b_.TryReceive()->has_value(), false);
  const std::string bytes = HeaderBytes({.payload_bytes = 5, .fd_count = 1}) + "hello";
  const auto fd = MakeSealedMemfd("x", "x");
  ASSERT_TRUE(fd.ok());
  for (size_t i = 0; i < bytes.size(); ++i) {
    SendRaw(raw_, bytes.substr(i, 1), i == 0 ? std::vector{fd->get()} : std::vector<int>{});
    const auto frame = b_.TryReceive();
    ASSERT_TRUE(frame.ok()) << frame.status();
    ASSERT_EQ(frame->has_value(), i + 1 == bytes.size());
    if (*frame) {
      EXPECT_EQ((*frame)->payload, "hello");
      EXPECT_EQ((*frame)->fds.size(), 1u);
    }
  }
  EXPECT_EQ(b_.TryReceive()->has_value(), false);
}

TEST_F(FramedSocketTest, ReceiveGoesOnWhereTryReceiveStopped) {
  const std::string bytes = HeaderBytes({.payload_bytes = 5}) + "hello";
  SendRaw(raw_, bytes.substr(0, 18));
  EXPECT_EQ(b_.TryReceive()->has_value(), false);
  SendRaw(raw_, bytes.substr(18));
  EXPECT_EQ(b_.Receive()->payload, "hello");
}

TEST_F(FramedSocketTest, TrySendGivesUpOnAReaderThatNeverReads) {
  const std::string payload(64 << 10, 'x');
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) status = a_.TrySend(payload);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST_F(FramedSocketTest, AfterHalfAFrameNothingMoreIsSent) {
  ASSERT_EQ(a_.TrySend(std::string(kMaxPayloadBytes, 'x')).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(a_.TrySend("more").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(a_.Send("more").code(), absl::StatusCode::kUnavailable);
  a_.Shutdown();
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(FramedSocketTest, TrySendWorksWhileThePeerReads) {
  ASSERT_TRUE(a_.TrySend("quick").ok());
  EXPECT_EQ(b_.Receive()->payload, "quick");
}

// --- ends

TEST_F(FramedSocketTest, SeesThePeerClose) {
  ASSERT_TRUE(a_.Send("last words").ok());
  a_ = FramedSocket();
  EXPECT_EQ(b_.Receive()->payload, "last words");
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(b_.TryReceive().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(b_.Send("anybody?").code(), absl::StatusCode::kUnavailable) << "and no SIGPIPE";
  EXPECT_EQ(b_.TrySend("anybody?").code(), absl::StatusCode::kUnavailable);
}

TEST_F(FramedSocketTest, SeesThePeerCloseWithinAFrame) {
  SendRaw(raw_, HeaderBytes({.payload_bytes = 100}) + "some");
  a_ = FramedSocket();
  const auto status = b_.Receive().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("within a frame"));
}

TEST_F(FramedSocketTest, SeesTheDeathOfThePeer) {
  const pid_t child = fork();
  if (child == 0) {
    b_ = FramedSocket();
    SendRaw(raw_, HeaderBytes({.payload_bytes = 100}) + "some");
    kill(getpid(), SIGKILL);
  }
  a_ = FramedSocket();
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

TEST_F(FramedSocketTest, SendWakesWhenThePeerDies) {
  absl::Status status;
  std::thread sender([&] { status = a_.Send(std::string(kMaxPayloadBytes, 'x')); });
  // Once bytes are there, the sender is in its first or a later wait.
  struct pollfd readable = {.fd = b_.fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&readable, 1, -1), 1);
  b_ = FramedSocket();
  sender.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
}

TEST_F(FramedSocketTest, ShutdownWakesTheReceiver) {
  std::thread receiver(
      [&] { EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kUnavailable); });
  b_.Shutdown();
  receiver.join();
}

TEST(FramedSocket, WithoutADescriptorIsClosed) {
  FramedSocket socket;
  EXPECT_FALSE(socket.valid());
  EXPECT_EQ(socket.Send("x").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(socket.Receive().status().code(), absl::StatusCode::kUnavailable);
  socket.Shutdown();
}

TEST_F(FramedSocketTest, GoesOnAfterASignal) {
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  std::atomic<bool> done = false;
  std::thread receiver([&] {
    for (int i = 0; i < 200; ++i) ASSERT_EQ(b_.Receive()->payload.size(), 1000u);
    done = true;
  });
  for (int i = 0; i < 200; ++i) {
    if (!done) pthread_kill(receiver.native_handle(), SIGUSR1);
    ASSERT_TRUE(a_.Send(std::string(1000, 'x')).ok());
  }
  receiver.join();
  ASSERT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
}

// --- hostile peers

TEST_F(FramedSocketTest, RefusesGarbage) {
  SendRaw(raw_, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kDataLoss);
  SendRaw(raw_, HeaderBytes({}));
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kDataLoss)
      << "nothing after garbage counts";
}

TEST_F(FramedSocketTest, RefusesAReservedFieldThatIsSet) {
  SendRaw(raw_, HeaderBytes({.reserved = 1}));
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(FramedSocketTest, RefusesAPayloadOverTheLimit) {
  SendRaw(raw_, HeaderBytes({.payload_bytes = kMaxPayloadBytes + 1}));
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kDataLoss);
}

long PeakKib() {
  struct rusage usage;
  EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  return usage.ru_maxrss;
}

TEST_F(FramedSocketTest, AllocatesForWhatCameNotForWhatIsAnnounced) {
  FramedSocket wide(b_.Release(), size_t{4} << 30);
  SendRaw(raw_, HeaderBytes({.payload_bytes = 0xffffffff}) + "little");
  const long before = PeakKib();
  const auto frame = wide.TryReceive();
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_FALSE(frame->has_value());
  EXPECT_LT(PeakKib() - before, 64 << 10);
}

class HostileDescriptors : public FramedSocketTest {
 protected:
  void SetUp() override {
    FramedSocketTest::SetUp();
    auto fd = MakeSealedMemfd("x", "x");
    ASSERT_TRUE(fd.ok());
    fd_ = std::move(*fd);
    before_ = OpenFds();
  }

  // The stream fails, and no descriptor that came stays open.
  void ExpectRefused(std::string_view words) {
    const auto status = b_.Receive().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(words)));
    EXPECT_EQ(OpenFds(), before_);
  }

  UniqueFd fd_;
  size_t before_ = 0;
};

TEST_F(HostileDescriptors, FewerThanAnnounced) {
  SendRaw(raw_, HeaderBytes({.fd_count = 3}), {fd_.get(), fd_.get()});
  ExpectRefused("announces 3 descriptors and carries 2");
}

TEST_F(HostileDescriptors, NoneOfThoseAnnounced) {
  SendRaw(raw_, HeaderBytes({.fd_count = 0xffffffff}));
  ExpectRefused("carries 0");
}

TEST_F(HostileDescriptors, MoreThanAnnounced) {
  SendRaw(raw_, HeaderBytes({.fd_count = 1}), {fd_.get(), fd_.get()});
  ExpectRefused("announces 1 descriptors and carries 2");
}

TEST_F(HostileDescriptors, ThatNobodyAnnounced) {
  SendRaw(raw_, HeaderBytes({}), std::vector<int>(kMaxFdsPerFrame, fd_.get()));
  ExpectRefused("announces 0");
}

TEST_F(HostileDescriptors, WithTheMiddleOfTheHeader) {
  const std::string header = HeaderBytes({.fd_count = 1});
  SendRaw(raw_, header.substr(0, 8));
  ASSERT_FALSE(b_.TryReceive()->has_value());
  SendRaw(raw_, header.substr(8), {fd_.get()});
  ExpectRefused("middle of a frame");
}

TEST_F(HostileDescriptors, WithThePayload) {
  SendRaw(raw_, HeaderBytes({.payload_bytes = 4}));
  SendRaw(raw_, "four", {fd_.get()});
  ExpectRefused("middle of a frame");
}

TEST_F(HostileDescriptors, BeforeThePeerDies) {
  SendRaw(raw_, HeaderBytes({.payload_bytes = 4, .fd_count = 1}), {fd_.get()});
  ASSERT_FALSE(b_.TryReceive()->has_value());
  EXPECT_EQ(OpenFds(), before_ + 1) << "held for the frame that is arriving";
  a_.Shutdown();
  EXPECT_EQ(b_.Receive().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(OpenFds(), before_);
}

TEST_F(HostileDescriptors, MoreThanThisProcessMayOpen) {
  ASSERT_TRUE(a_.Send("many", std::vector<int>(50, fd_.get())).ok());
  struct rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  struct rlimit few = {.rlim_cur = OpenFds() + 10, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto status = b_.Receive().status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("RLIMIT_NOFILE"));
  EXPECT_EQ(OpenFds(), before_);
}

}  // namespace
}  // namespace modeld::wire
