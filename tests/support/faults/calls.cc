// The calls that can be made to fail, in place of the C library's.

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>

#include "support/faults/decide.h"
#include "support/faults/next.h"

namespace {

using modeld::test::faults::Call;
using modeld::test::faults::FailureOf;
using modeld::test::faults::Next;
using modeld::test::faults::Subject;

// True: it fails, errno says why.
bool Fails(Call call, const Subject& subject) {
  const auto failure = FailureOf(call, subject);
  if (failure) errno = failure->error;
  return failure.has_value();
}

}  // namespace

extern "C" {

ssize_t pread(int fd, void* buffer, size_t count, off_t offset) {
  static auto* const next = Next<ssize_t(int, void*, size_t, off_t)>("pread");
  const auto failure = FailureOf(Call::kPread, {.size_bytes = count, .fd = fd});
  if (failure && failure->error != 0) {
    errno = failure->error;
    return -1;
  }
  // Cut short afterwards: a direct read of an odd size would be refused.
  const ssize_t got = next(fd, buffer, count, offset);
  return failure ? std::min(got, static_cast<ssize_t>(failure->most_bytes)) : got;
}

ssize_t write(int fd, const void* buffer, size_t count) {
  static auto* const next = Next<ssize_t(int, const void*, size_t)>("write");
  return Fails(Call::kWrite, {.size_bytes = count, .fd = fd}) ? -1 : next(fd, buffer, count);
}

int memfd_create(const char* name, unsigned flags) noexcept {
  static auto* const next = Next<int(const char*, unsigned)>("memfd_create");
  return Fails(Call::kMemfdCreate, {.name = name}) ? -1 : next(name, flags);
}

int ftruncate(int fd, off_t length) noexcept {
  static auto* const next = Next<int(int, off_t)>("ftruncate");
  const Subject subject = {.size_bytes = static_cast<uint64_t>(length), .fd = fd};
  return Fails(Call::kFtruncate, subject) ? -1 : next(fd, length);
}

void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  static auto* const next = Next<void*(void*, size_t, int, int, int, off_t)>("mmap");
  if (Fails(Call::kMmap, {.size_bytes = length, .fd = fd})) return MAP_FAILED;
  return next(address, length, protection, flags, fd, offset);
}

int madvise(void* address, size_t length, int advice) noexcept {
  static auto* const next = Next<int(void*, size_t, int)>("madvise");
  return Fails(Call::kMadvise, {.size_bytes = length}) ? -1 : next(address, length, advice);
}

int clone(int (*function)(void*), void* stack, int flags, void* argument, ...) noexcept {
  using Function = int(int (*)(void*), void*, int, void*, ...);
  static auto* const next = Next<Function>("clone");
  va_list rest;
  va_start(rest, argument);
  int* const parent_tid =
      (flags & (CLONE_PIDFD | CLONE_PARENT_SETTID)) != 0 ? va_arg(rest, int*) : nullptr;
  va_end(rest);
  if (Fails(Call::kClone, {})) return -1;
  return next(function, stack, flags, argument, parent_tid);
}

}  // extern "C"
