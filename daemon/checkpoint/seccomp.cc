#include <seccomp.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <initializer_list>
#include <memory>

#include "checkpoint/sandbox.h"

namespace modeld::checkpoint {
namespace {

// Reading descriptors, answering, memory, time and the end. Anything else gets EPERM: a C library
// that tries something new goes on without it, and so does an attacker, with nothing.
constexpr std::array kAllowed = {SCMP_SYS(pread64),
                                 SCMP_SYS(read),
                                 SCMP_SYS(pwrite64),
                                 SCMP_SYS(write),
                                 SCMP_SYS(recvmsg),
                                 SCMP_SYS(sendmsg),
                                 SCMP_SYS(poll),
                                 SCMP_SYS(ppoll),
                                 SCMP_SYS(fstat),
                                 SCMP_SYS(close),
                                 SCMP_SYS(lseek),
                                 SCMP_SYS(brk),
                                 SCMP_SYS(munmap),
                                 SCMP_SYS(mremap),
                                 SCMP_SYS(madvise),
                                 SCMP_SYS(futex),
                                 SCMP_SYS(getrandom),
                                 SCMP_SYS(clock_gettime),
                                 SCMP_SYS(gettimeofday),
                                 SCMP_SYS(rt_sigreturn),
                                 SCMP_SYS(rt_sigaction),
                                 SCMP_SYS(rt_sigprocmask),
                                 SCMP_SYS(restart_syscall),
                                 SCMP_SYS(exit),
                                 SCMP_SYS(exit_group)};

// What the runtimes of the sanitizers do in a process that works. UBSan looks through a pipe
// whether an address is readable.
constexpr std::array kAllowedForSanitizers = {
    SCMP_SYS(sched_yield), SCMP_SYS(sigaltstack), SCMP_SYS(getpid),          SCMP_SYS(gettid),
    SCMP_SYS(nanosleep),   SCMP_SYS(pipe),        SCMP_SYS(clock_nanosleep), SCMP_SYS(pipe2)};

struct Releaser {
  void operator()(void* filter) const { seccomp_release(filter); }
};

int AddRules(scmp_filter_ctx filter) {
  for (const int call : kAllowed) {
    if (const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0)) return error;
  }
  if (kSanitizerBuild) {
    for (const int call : kAllowedForSanitizers) {
      if (const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0)) return error;
    }
  }
  // Memory, but none that can be executed and none of a file.
  if (const int error =
          seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, static_cast<scmp_datum_t>(PROT_EXEC), 0),
                           SCMP_A3(SCMP_CMP_MASKED_EQ, static_cast<scmp_datum_t>(MAP_ANONYMOUS),
                                   static_cast<scmp_datum_t>(MAP_ANONYMOUS)))) {
    return error;
  }
  return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                          SCMP_A2(SCMP_CMP_MASKED_EQ, static_cast<scmp_datum_t>(PROT_EXEC), 0));
}

}  // namespace

bool RestrictSystemCalls() {
  const std::unique_ptr<void, Releaser> filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (filter == nullptr) return false;
  // Calls of another architecture (32-bit, x32) have other numbers: no list is for them.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  return AddRules(filter.get()) == 0 && seccomp_load(filter.get()) == 0;
}

}  // namespace modeld::checkpoint
