// A worker that forks, for fork_test: it must be a process that nobody else's gRPC runs in.
//
//   fork_helper keep SOCKET     forks a child that stays; prints what the child finds, then both
//   wait for a line on stdin fork_helper exit SOCKET     forks a child that drops what it has and
//   returns from main fork_helper storm SOCKET    forks again and again while another thread
//   connects fork_helper late SOCKET     connects in children only

#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "modeld/client.h"

// The memory of the parent's threads counts as leaked in a child that exits.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace {

using modeld::Client;
using modeld::Error;
using modeld::ErrorCode;
using modeld::Model;

bool RefusesAsForked(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code() == ErrorCode::kFailedPrecondition && error.reason() == "PROCESS_FORKED";
  }
  return false;
}

bool Reads(const Model& model) {
  return *static_cast<const unsigned char*>(model.at("w.1").data) == 64;
}

std::vector<int> Sockets() {
  std::vector<int> sockets;
  for (int fd = 3; fd < 256; ++fd) {
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode)) sockets.push_back(fd);
  }
  return sockets;
}

int WaitForChild(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int Keep(const std::string& socket) {
  const auto client = Client::Connect(socket);
  const auto model = client->Acquire({.reference = "/m"});
  if (fork() == 0) {
    const bool good = model->state() == Model::State::kForked && Reads(*model) &&
                      model->find("nothing") == std::nullopt && Sockets().empty() &&
                      RefusesAsForked([&] { client->Acquire({.reference = "/m"}); }) &&
                      RefusesAsForked([&] { Client::Connect(socket); });
    std::cout << "child " << getpid() << (good ? " good" : " bad") << std::endl;
    std::string line;
    std::getline(std::cin, line);
    std::cout << (Reads(*model) ? "still readable" : "not readable") << std::endl;
    return 0;
  }
  for (;;) pause();
}

int Exit(const std::string& socket) {
  auto client = Client::Connect(socket);
  auto model = client->Acquire({.reference = "/m"});
  const pid_t child = fork();
  if (child == 0) {
    model.reset();
    client.reset();
    std::exit(7);  // with all destructors of statics
  }
  const int status = WaitForChild(child);
  const bool good = status == 7 && model->state() == Model::State::kHeld && Reads(*model) &&
                    client->Acquire({.reference = "/n"}) != nullptr;
  std::cout << (good ? "good" : "bad") << std::endl;
  return 0;
}

// A child may have a copy of a socket that was being made as it was forked. The parent then does
// not use it: it ends.
bool SocketsEnd() {
  for (const int fd : Sockets()) {
    struct pollfd entry = {.fd = fd, .events = POLLRDHUP, .revents = 0};
    if (poll(&entry, 1, 10'000) != 1) return false;
  }
  return true;
}

int Storm(const std::string& socket) {
  std::atomic<bool> stop{false};
  std::atomic<int> connected{0};
  std::thread connector([&] {
    while (!stop) {
      const auto model = Client::Connect(socket)->Acquire({.reference = "/m"});
      connected += Reads(*model);
    }
  });
  int bad = 0;
  for (int i = 0; i < 200; ++i) {
    const int before = connected;
    const pid_t child = fork();
    if (child == 0) _exit(SocketsEnd() ? 0 : 1);
    bad += WaitForChild(child);
    while (i % 10 == 0 && connected == before) std::this_thread::yield();
  }
  stop = true;
  connector.join();
  std::cout << (bad == 0 ? "good" : "bad") << std::endl;
  return 0;
}

int Late(const std::string& socket) {
  int bad = 0;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      const auto model = Client::Connect(socket)->Acquire({.reference = "/m"});
      std::exit(Reads(*model) && model->state() == Model::State::kHeld ? 0 : 1);
    }
    bad += WaitForChild(child);
  }
  std::cout << (bad == 0 ? "good" : "bad") << std::endl;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[1];
  if (mode == "keep") return Keep(argv[2]);
  if (mode == "exit") return Exit(argv[2]);
  if (mode == "storm") return Storm(argv[2]);
  if (mode == "late") return Late(argv[2]);
  return 2;
}
