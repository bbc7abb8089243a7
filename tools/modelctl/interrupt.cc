#include "modelctl/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

namespace modeld::modelctl {
namespace {

sigset_t CaughtSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

void Raise(int event_fd) {
  // An eventfd takes a 1 unless it is at its limit, where it is readable already.
  (void)!eventfd_write(event_fd, 1);
}

[[noreturn]] void DieOf(int signal_number) {
  signal(signal_number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_number);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  raise(signal_number);
  abort();
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t set = CaughtSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  stop_event_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  raised_event_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  // Without descriptors the signals do what they always do.
  if (!signals_.valid() || !stop_event_.valid() || !raised_event_.valid()) {
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    return;
  }
  thread_ = std::thread([this] { Watch(); });
}

Interrupt::~Interrupt() {
  if (!thread_.joinable()) return;
  Raise(stop_event_.get());
  thread_.join();
}

absl::Status Interrupt::Check() const {
  return raised() ? absl::CancelledError("interrupted") : absl::OkStatus();
}

bool Interrupt::Sleep(std::chrono::nanoseconds duration) {
  const auto deadline = std::chrono::steady_clock::now() + duration;
  while (!raised()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return true;
    struct pollfd wait = {.fd = fd(), .events = POLLIN, .revents = 0};
    poll(&wait, 1, static_cast<int>(std::min<int64_t>(left.count(), 1 << 30)));
  }
  return false;
}

void Interrupt::Watch() {
  while (true) {
    struct pollfd wait[2] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                             {.fd = stop_event_.get(), .events = POLLIN, .revents = 0}};
    if (poll(wait, 2, -1) < 0 && errno != EINTR) return;
    if (wait[1].revents != 0) return;
    struct signalfd_siginfo info = {};
    if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) continue;
    if (raised_.exchange(true)) DieOf(static_cast<int>(info.ssi_signo));
    Raise(raised_event_.get());
    // TryCancel does not call back into this: it may be under the lock that keeps the context
    // alive.
    wire::MutexLock lock(mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }
}

Interrupt::Guard::Guard(Interrupt& interrupt, grpc::ClientContext& context)
    : interrupt_(interrupt) {
  wire::MutexLock lock(interrupt_.mutex_);
  interrupt_.context_ = &context;
  if (interrupt_.raised()) context.TryCancel();
}

Interrupt::Guard::~Guard() {
  wire::MutexLock lock(interrupt_.mutex_);
  interrupt_.context_ = nullptr;
}

}  // namespace modeld::modelctl
