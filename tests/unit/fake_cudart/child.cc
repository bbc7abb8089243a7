#include "child.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <map>
#include <vector>

namespace fake_cudart_test {
namespace {

constexpr int kChannelFd = 3;
constexpr char kRoleFlag[] = "--role=";

std::map<std::string, Role>& Roles() {
  static auto& roles = *new std::map<std::string, Role>;
  return roles;
}

std::string NameOf(Role role) {
  for (const auto& [name, candidate] : Roles()) {
    if (candidate == role) return name;
  }
  abort();
}

}  // namespace

Registration::Registration(const char* name, Role role) {
  if (!Roles().emplace(name, role).second) abort();
}

Channel::~Channel() { close(fd_); }

void Channel::Send(const std::string& message) { SendWith(message, -1); }

void Channel::SendFd(int fd) { SendWith("fd", fd); }

std::string Channel::Receive() { return ReceiveWith(nullptr); }

int Channel::ReceiveFd() {
  int fd = -1;
  ReceiveWith(&fd);
  return fd;
}

void Channel::SendWith(const std::string& message, int fd) {
  iovec part = {const_cast<char*>(message.data()), message.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(item), &fd, sizeof fd);
  }
  if (sendmsg(fd_, &header, MSG_NOSIGNAL) < 0) Fail(__FILE__, __LINE__, "the peer is gone");
}

std::string Channel::ReceiveWith(int* fd) {
  std::array<char, 512> buffer;
  iovec part = {buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = recvmsg(fd_, &header, MSG_CMSG_CLOEXEC);
  if (got <= 0) Fail(__FILE__, __LINE__, "the peer is gone");
  const cmsghdr* item = CMSG_FIRSTHDR(&header);
  if (fd != nullptr && item != nullptr) memcpy(fd, CMSG_DATA(item), sizeof *fd);
  return std::string(buffer.data(), static_cast<size_t>(got));
}

Child::Child(Role role, const World& world) {
  std::array<int, 2> pair;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) abort();
  std::string flag = kRoleFlag + NameOf(role);
  std::string program = "/proc/self/exe";
  std::array<char*, 3> arguments = {program.data(), flag.data(), nullptr};
  std::vector<std::string> variables = world.Environment();
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pair[1], kChannelFd);
  if (posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments.data(),
                  environment.data()) != 0) {
    abort();
  }
  posix_spawn_file_actions_destroy(&actions);
  close(pair[1]);
  channel_ = new Channel(pair[0]);
}

Child::~Child() {
  if (pid_ > 0) Kill();
  delete channel_;
}

int Child::Wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

bool Child::EndsWell() {
  const int status = Wait();
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int Child::EndsBySignal() {
  const int status = Wait();
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void Child::Kill() {
  kill(pid_, SIGKILL);
  Wait();
}

bool RunsWell(Role role, const World& world) { return Child(role, world).EndsWell(); }

void Fail(const char* file, int line, const std::string& message) {
  fprintf(stderr, "%s:%d: in process %d: %s\n", file, line, getpid(), message.c_str());
  fflush(stderr);
  _exit(1);
}

void RequireCuda(const char* file, int line, const char* call, int expected, int got) {
  if (got == expected) return;
  const auto name = [](int error) {
    return std::string(cudaGetErrorName(static_cast<cudaError_t>(error)));
  };
  Fail(file, line, std::string(call) + " gave " + name(got) + ", not " + name(expected));
}

size_t FreeMib() {
  size_t free = 0;
  size_t total = 0;
  REQUIRE_CUDA(cudaSuccess, cudaMemGetInfo(&free, &total));
  return free / kMiB;
}

void FaultPlainly() {
  signal(SIGSEGV, SIG_DFL);
  signal(SIGBUS, SIG_DFL);
}

}  // namespace fake_cudart_test

int main(int argc, char** argv) {
  using fake_cudart_test::kChannelFd;
  using fake_cudart_test::kRoleFlag;
  if (argc == 2 && strncmp(argv[1], kRoleFlag, strlen(kRoleFlag)) == 0) {
    const auto role = fake_cudart_test::Roles().find(argv[1] + strlen(kRoleFlag));
    if (role == fake_cudart_test::Roles().end()) return 2;
    fake_cudart_test::Channel parent(kChannelFd);
    role->second(parent);
    return 0;
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
