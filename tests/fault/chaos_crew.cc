#include "chaos_crew.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "support/daemon_fixture.h"

namespace modeld::test {
namespace {

using Clock = std::chrono::steady_clock;

// Longer than a worker has patience for a model, with what it takes to check one.
constexpr std::chrono::seconds kSilence{45};
constexpr std::chrono::milliseconds kTick{20};

}  // namespace

ChaosCrew::ChaosCrew(std::string endpoint, std::vector<std::string> environment, int size,
                     unsigned seed)
    : endpoint_(std::move(endpoint)),
      environment_(std::move(environment)),
      random_(seed),
      workers_(static_cast<size_t>(size)) {}

void ChaosCrew::Start() {
  for (Worker& worker : workers_) Start(worker);
}

void ChaosCrew::Start(Worker& worker) {
  int input[2];
  int output[2];
  ASSERT_EQ(pipe2(input, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(output, O_CLOEXEC), 0);
  worker = {};
  const wire::UniqueFd their_input(input[0]);
  const wire::UniqueFd their_output(output[1]);
  worker.input.reset(input[1]);
  worker.output.reset(output[0]);
  fcntl(worker.output.get(), F_SETFL, O_NONBLOCK);
  auto process =
      base::ChildProcess::Spawn({.path = TestProgram("modeld-chaos-worker", MODELD_CHAOS_WORKER),
                                 .args = {endpoint_, std::to_string(random_())},
                                 .env = environment_,
                                 .fds = {{their_input.get(), 0}, {their_output.get(), 1}},
                                 // One that is stopped would keep ctest waiting for its stderr.
                                 .parent_death_signal = SIGKILL});
  ASSERT_TRUE(process.ok()) << process.status();
  worker.process = *std::move(process);
  worker.last_time = Clock::now();
}

bool ChaosCrew::Listen(Clock::time_point deadline) {
  for (;;) {
    std::vector<pollfd> polled;
    for (const Worker& worker : workers_) {
      polled.push_back({worker.ended ? -1 : worker.output.get(), POLLIN, 0});
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    const auto wait = std::clamp(left, std::chrono::milliseconds(0), kTick);
    poll(polled.data(), polled.size(), static_cast<int>(wait.count()));
    for (Worker& worker : workers_) {
      if (!worker.ended && !Take(worker)) return false;
      if (worker.stopped && Clock::now() >= worker.stopped_until) Continue(worker);
      if (!worker.ended && Clock::now() > worker.last_time + kSilence) {
        ADD_FAILURE() << "worker " << worker.process.pid() << " hangs: " << worker.last_line;
        return false;
      }
    }
    if (Clock::now() >= deadline) return true;
  }
}

bool ChaosCrew::Take(Worker& worker) {
  char buffer[4096];
  ssize_t size;
  while ((size = read(worker.output.get(), buffer, sizeof buffer)) > 0) {
    worker.pending.append(buffer, static_cast<size_t>(size));
  }
  for (size_t end; (end = worker.pending.find('\n')) != std::string::npos;) {
    const std::string line = worker.pending.substr(0, end);
    worker.pending.erase(0, end + 1);
    if (!Note(worker, line)) return false;
  }
  if (size != 0) return true;
  const auto exit = worker.process.Wait(Clock::now() + kSilence);
  worker.ended = true;
  if (finishing_ && exit && exit->ok()) return true;
  ADD_FAILURE() << "worker " << worker.process.pid() << " "
                << (exit ? exit->Text() : "does not end") << ": " << worker.last_line;
  return false;
}

bool ChaosCrew::Note(Worker& worker, const std::string& line) {
  worker.last_line = line;
  worker.last_time = Clock::now();
  std::istringstream words(line);
  std::string what;
  std::string reference;
  words >> what;
  if (what == "got") {
    int64_t micros = 0;
    words >> reference >> micros;
    ++figures_.acquired;
    if (std::chrono::microseconds(micros) > figures_.longest_acquire) {
      figures_.longest_acquire = std::chrono::microseconds(micros);
      figures_.longest_reference = reference;
    }
  } else if (what == "checked") {
    uint64_t bytes = 0;
    words >> bytes;
    figures_.checked_bytes += bytes;
  } else if (what == "released") {
    ++figures_.rounds;
    ++worker.rounds;
  } else if (what == "again") {
    std::string reason;
    words >> reference >> reason;
    ++figures_.again[reason];
  } else if (what != "want") {
    ADD_FAILURE() << "worker " << worker.process.pid() << ": " << line;
    return false;
  }
  return true;
}

std::string ChaosCrew::KillOne() {
  Worker& worker = workers_[random_() % workers_.size()];
  const std::string words =
      "killed worker " + std::to_string(worker.process.pid()) + " after: " + worker.last_line;
  worker.process.Kill(SIGKILL);
  worker.process.Wait();
  Start(worker);
  return words + "; " + std::to_string(worker.process.pid()) + " takes its place";
}

std::string ChaosCrew::StopOne(std::chrono::milliseconds duration) {
  Worker& worker = workers_[random_() % workers_.size()];
  worker.process.Kill(SIGSTOP);
  worker.stopped = true;
  worker.stopped_until = Clock::now() + duration;
  return "stopped worker " + std::to_string(worker.process.pid()) + " for " +
         std::to_string(duration.count()) + " ms after: " + worker.last_line;
}

void ChaosCrew::Continue(Worker& worker) {
  worker.process.Kill(SIGCONT);
  worker.stopped = false;
}

bool ChaosCrew::Finish() {
  finishing_ = true;
  for (Worker& worker : workers_) {
    if (worker.stopped) Continue(worker);
    worker.input.reset();
  }
  const auto ended = [](const Worker& worker) { return worker.ended; };
  const Clock::time_point deadline = Clock::now() + 2 * kSilence;
  while (!std::ranges::all_of(workers_, ended)) {
    if (!Listen(Clock::now() + kTick)) return false;
    if (Clock::now() > deadline) {
      ADD_FAILURE() << "the workers do not end:\n" << LastWords();
      return false;
    }
  }
  return true;
}

uint64_t ChaosCrew::FewestRounds() const {
  return std::ranges::min_element(workers_, {}, &Worker::rounds)->rounds;
}

std::string ChaosCrew::LastWords() const {
  std::string words;
  for (const Worker& worker : workers_) {
    words += std::to_string(worker.process.pid()) + (worker.ended ? " (ended): " : ": ") +
             worker.last_line + "\n";
  }
  return words;
}

}  // namespace modeld::test
