// A wall clock that is wrong, also for who sleeps by it. Monotonic clocks stay as they are.

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>

#include "support/faults/decide.h"
#include "support/faults/next.h"

namespace {

using modeld::test::faults::Next;

constexpr int64_t kNanos = 1'000'000'000;
// The kernel wakes who sleeps by a clock that is set; here they look by themselves.
constexpr int64_t kLongestSleepNanos = 20'000'000;

using ClockGettime = int(clockid_t, timespec*);
using Syscall = long(long, ...);

ClockGettime* next_clock_gettime = nullptr;
Syscall* next_syscall = nullptr;

// Not at the first call: that may be in a child that shares its parent's memory.
__attribute__((constructor)) void FindNext() {
  next_clock_gettime = Next<ClockGettime>("clock_gettime");
  next_syscall = Next<Syscall>("syscall");
}

int64_t ShiftNanos() {
  const auto* const table = modeld::test::faults::SharedTable();
  return table == nullptr ? 0 : table->wall_shift_nanos.load(std::memory_order_relaxed);
}

int64_t ToNanos(const timespec& time) { return time.tv_sec * kNanos + time.tv_nsec; }

timespec ToTimespec(int64_t nanos) { return {nanos / kNanos, nanos % kNanos}; }

int64_t TrueNanos() {
  timespec now = {};
  if (next_clock_gettime == nullptr) FindNext();
  next_clock_gettime(CLOCK_REALTIME, &now);
  return ToNanos(now);
}

// absl's absolute waits, by the wall clock: until `deadline` of the clock that is wrong. Ends early
// as if by a signal, which whoever waits on a futex has to expect.
long WaitUntil(long word, long operation, long value, const timespec& deadline, long word2,
               long mask) {
  const int64_t now = TrueNanos();
  const int64_t left = std::max<int64_t>(0, ToNanos(deadline) - now - ShiftNanos());
  const timespec until = ToTimespec(now + std::min(left, kLongestSleepNanos));
  const long result = next_syscall(SYS_futex, word, operation, value, &until, word2, mask);
  if (result != 0 && errno == ETIMEDOUT && left > kLongestSleepNanos) errno = EINTR;
  return result;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (next_clock_gettime == nullptr) FindNext();
  const int result = next_clock_gettime(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    *time = ToTimespec(ToNanos(*time) + ShiftNanos());
  }
  return result;
}

int gettimeofday(timeval* __restrict time, void* __restrict) noexcept {
  const int64_t now = TrueNanos() + ShiftNanos();
  *time = {now / kNanos, now % kNanos / 1000};
  return 0;
}

time_t time(time_t* out) noexcept {
  const time_t now = (TrueNanos() + ShiftNanos()) / kNanos;
  if (out != nullptr) *out = now;
  return now;
}

long syscall(long number, ...) noexcept {
  if (next_syscall == nullptr) FindNext();
  long arguments[6];
  va_list rest;
  va_start(rest, number);
  for (long& argument : arguments) argument = va_arg(rest, long);
  va_end(rest);
  const auto& [a, b, c, d, e, f] = arguments;
  constexpr long kByWallClock = FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME;
  if (number == SYS_futex && (b & ~FUTEX_PRIVATE_FLAG) == kByWallClock && d != 0 &&
      ShiftNanos() != 0) {
    return WaitUntil(a, b, c, *reinterpret_cast<const timespec*>(d), e, f);
  }
  return next_syscall(number, a, b, c, d, e, f);
}

}  // extern "C"
