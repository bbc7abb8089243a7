#include "background_threads.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "fork_guard.h"
#include "wire/mutex.h"

namespace modeld::client::background {
namespace {

struct State {
  wire::Mutex mutex;
  wire::CondVar changed;
  int running MODELD_GUARDED_BY(mutex) = 0;
  bool exiting MODELD_GUARDED_BY(mutex) = false;
  std::vector<std::function<void()>> stops MODELD_GUARDED_BY(mutex);
  // Of the process whose threads are counted.
  std::atomic<uint64_t> fork_generation{ForkGeneration()};
};

// Never destroyed: threads may be in it to the last.
State& GetState() {
  static State& state = *new State;
  return state;
}

void Ended() {
  State& state = GetState();
  wire::MutexLock lock(state.mutex);
  --state.running;
  state.changed.NotifyAll();
}

// Static objects of this library go before those of gRPC, which it links.
struct StopAtExit {
  StopAtExit() { GetState(); }
  ~StopAtExit() {
    State& state = GetState();
    // A child has none of the threads, and maybe a lock that one of them held.
    if (state.fork_generation != ForkGeneration()) return;
    std::vector<std::function<void()>> stops;
    {
      wire::MutexLock lock(state.mutex);
      state.exiting = true;
      state.changed.NotifyAll();
      stops.swap(state.stops);
    }
    for (const auto& stop : stops) stop();
    const TimePoint patience = Clock::now() + std::chrono::seconds(1);
    wire::MutexLock lock(state.mutex);
    while (state.running > 0 && state.changed.WaitUntil(state.mutex, patience)) {
    }
  }
} g_stop_at_exit;

}  // namespace

bool Start(std::function<void()> work, std::function<void()> stop) {
  State& state = GetState();
  {
    wire::MutexLock lock(state.mutex);
    if (state.exiting) return false;
    if (state.fork_generation.exchange(ForkGeneration()) != ForkGeneration()) state.running = 0;
    ++state.running;
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    std::thread([work = std::move(work)]() mutable {
      work();
      work = nullptr;  // what it owns goes before the thread counts as ended
      Ended();
    }).detach();
  } catch (const std::system_error&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!started) {
    Ended();
  } else if (stop) {
    wire::MutexLock lock(state.mutex);
    state.stops.push_back(std::move(stop));
  }
  return started;
}

bool Pause(Duration duration) {
  State& state = GetState();
  const TimePoint until = Clock::now() + duration;
  wire::MutexLock lock(state.mutex);
  while (!state.exiting && state.changed.WaitUntil(state.mutex, until)) {
  }
  return !state.exiting;
}

}  // namespace modeld::client::background
