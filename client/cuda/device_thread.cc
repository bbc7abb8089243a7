#include "cuda/device_thread.h"

#include <signal.h>

#include <exception>
#include <new>
#include <system_error>
#include <thread>

namespace modeld::gpu {
namespace {

// No signal handler of the program runs in a thread that it does not know of.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

MaybeFailure Run(const std::function<MaybeFailure()>& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Failure{"BUDGET_EXCEEDED", "the host's memory is short", "make room"};
  } catch (const std::exception& error) {
    return Failure{"INTERNAL", error.what(), ""};
  }
}

}  // namespace

MaybeFailure InThread(const std::function<MaybeFailure()>& work) {
  MaybeFailure outcome;
  try {
    std::thread thread;
    {
      const BlockedSignals blocked;
      thread = std::thread([&] { outcome = Run(work); });
    }
    thread.join();
  } catch (const std::system_error& error) {
    return Failure{"BUDGET_EXCEEDED", std::string("no thread can be started: ") + error.what(),
                   "raise the limit of processes (ulimit -u, pids.max)"};
  }
  return outcome;
}

MaybeFailure OnDevice(int ordinal, const std::function<MaybeFailure()>& work) {
  return InThread([&]() -> MaybeFailure {
    if (const cudaError_t error = cudaSetDevice(ordinal); error != cudaSuccess) {
      return MakeFailure("cannot use cuda:" + std::to_string(ordinal), error);
    }
    return work();
  });
}

}  // namespace modeld::gpu
