#include "support/worker_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "support/daemon_fixture.h"

namespace modeld::test {
namespace {

constexpr std::chrono::seconds kWorkerLimit{60};

}  // namespace

WorkerProcess::WorkerProcess(const std::string& endpoint, const std::vector<std::string>& env,
                             const std::string& program) {
  int input[2];
  int output[2];
  // A socket, so that writing to a dead worker is an error and not a signal.
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) != 0 ||
      pipe2(output, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "no pipes for a worker";
    return;
  }
  input_.reset(input[1]);
  output_.reset(output[0]);
  const wire::UniqueFd their_input(input[0]);
  const wire::UniqueFd their_output(output[1]);
  auto process = base::ChildProcess::Spawn(
      {.path = program.empty() ? TestProgram("modeld-test-worker", MODELD_TEST_WORKER) : program,
       .args = {endpoint},
       .env = env,
       .fds = {{their_input.get(), 0}, {their_output.get(), 1}}});
  if (!process.ok()) {
    ADD_FAILURE() << process.status();
    return;
  }
  process_ = *std::move(process);
}

void WorkerProcess::Send(const std::string& line) {
  const std::string text = line + "\n";
  // A worker that is gone shows in Receive.
  [[maybe_unused]] const ssize_t sent = send(input_.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

std::string WorkerProcess::Receive() {
  const auto deadline = std::chrono::steady_clock::now() + kWorkerLimit;
  while (true) {
    const size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd polled{output_.get(), POLLIN, 0};
    if (left.count() <= 0 || poll(&polled, 1, static_cast<int>(left.count())) <= 0) return "";
    char buffer[4096];
    const ssize_t size = read(output_.get(), buffer, sizeof buffer);
    if (size <= 0) return "";
    pending_.append(buffer, static_cast<size_t>(size));
  }
}

void WorkerProcess::Kill() {
  process_.Kill(SIGKILL);
  Wait();
}

std::optional<base::ExitStatus> WorkerProcess::Finish() {
  input_.reset();
  return Wait();
}

std::optional<base::ExitStatus> WorkerProcess::Wait() {
  auto status = process_.Wait(std::chrono::steady_clock::now() + kWorkerLimit);
  EXPECT_TRUE(status) << "worker " << pid() << " does not end";
  return status;
}

}  // namespace modeld::test
