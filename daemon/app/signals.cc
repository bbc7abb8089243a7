#include "app/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

namespace modeld::app {
namespace {

wire::UniqueFd BlockedSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGHUP);
  ::sigaddset(&set, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return wire::UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

// Rounded up, so that what is due at the deadline is due when poll returns.
struct timespec Until(base::TimePoint deadline) {
  const auto left =
      std::max(base::Duration::zero(), base::Duration(deadline - base::SystemClock().Now()));
  return {.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
}

Request RequestOf(const struct signalfd_siginfo& info) {
  if (info.ssi_signo == SIGUSR2) return Request::kHandOver;
  // The kernel sends it when the terminal goes: whoever typed `modeld` is gone too.
  const bool reload = info.ssi_signo == SIGHUP && info.ssi_code != SI_KERNEL;
  return reload ? Request::kReload : Request::kStop;
}

}  // namespace

Signals::Signals() : signals_(BlockedSignals()), wakes_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  ::signal(SIGPIPE, SIG_IGN);
}

std::optional<Signals::Received> Signals::Wait(std::optional<base::TimePoint> deadline) {
  for (;;) {
    struct pollfd fds[] = {{signals_.get(), POLLIN, 0}, {wakes_.get(), POLLIN, 0}};
    struct timespec timeout = {};
    if (deadline) timeout = Until(*deadline);
    const int ready = ::ppoll(fds, 2, deadline ? &timeout : nullptr, nullptr);
    if (ready < 0 && errno == EINTR) continue;

    struct signalfd_siginfo info;
    if (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      return Received{RequestOf(info), static_cast<int>(info.ssi_signo)};
    }
    uint64_t count = 0;
    if (::read(wakes_.get(), &count, sizeof(count)) == sizeof(count) || ready <= 0) {
      return std::nullopt;
    }
  }
}

void Signals::Wake() {
  const uint64_t one = 1;
  (void)!::write(wakes_.get(), &one, sizeof(one));
}

}  // namespace modeld::app
