#include "checkpoint/sandbox.h"

#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "wire/error.h"

namespace modeld::checkpoint {
namespace {

absl::Status Refused(const char* what) {
  return absl::FailedPreconditionError(
      absl::StrCat("the parser's sandbox: ", what, ": ", wire::ErrnoText(errno)));
}

// Never raises a limit that is lower already.
absl::Status Limit(__rlimit_resource resource, const char* name, uint64_t value) {
  rlimit limit = {};
  if (getrlimit(resource, &limit) != 0) return Refused(name);
  limit.rlim_max = std::min<rlim_t>(limit.rlim_max, value);
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(resource, &limit) == 0 ? absl::OkStatus() : Refused(name);
}

void CloseAbove(int last_fd) {
  const auto first = static_cast<unsigned>(last_fd) + 1;
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
  // Kernels before 5.9.
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (int fd = last_fd + 1; fd < static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
       ++fd) {
    close(fd);
  }
}

}  // namespace

absl::StatusOr<SandboxReport> EnterSandbox(const SandboxLimits& limits) {
  CloseAbove(limits.last_fd);
  SandboxReport report;
  if (!kSanitizerBuild) report.address_space_limit_bytes = limits.address_space_bytes;

  struct {
    __rlimit_resource resource;
    const char* name;
    uint64_t value;
  } const wanted[] = {
      {RLIMIT_AS, "RLIMIT_AS", kSanitizerBuild ? RLIM_INFINITY : limits.address_space_bytes},
      {RLIMIT_CPU, "RLIMIT_CPU", limits.cpu_seconds},
      {RLIMIT_FSIZE, "RLIMIT_FSIZE", limits.file_bytes},
      {RLIMIT_NOFILE, "RLIMIT_NOFILE", limits.descriptors},
      {RLIMIT_CORE, "RLIMIT_CORE", 0},
  };
  for (const auto& [resource, name, value] : wanted) {
    if (auto status = Limit(resource, name, value); !status.ok()) return status;
  }
  // Not dumpable: other processes of the same user cannot attach to it or read its memory.
  if (prctl(PR_SET_DUMPABLE, 0) != 0) return Refused("PR_SET_DUMPABLE");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Refused("no_new_privs");
  report.landlock_abi = RestrictWithLandlock();
  report.seccomp = RestrictSystemCalls();
  return report;
}

}  // namespace modeld::checkpoint
