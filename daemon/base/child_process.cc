#include "base/child_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "wire/error.h"
#include "wire/memfd.h"

extern char** environ;

#if defined(__SANITIZE_THREAD__)
// ThreadSanitizer's clone() takes every child for a copy of the process, and marks the memory that
// is shared here.
extern "C" int __clone(int (*function)(void*), void* stack, int flags, void* argument, ...);
#define clone __clone
#define MODELD_NO_TSAN __attribute__((no_sanitize("thread")))
#else
#define MODELD_NO_TSAN
#endif

#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>  // its macros do nothing without AddressSanitizer
#else
#define ASAN_UNPOISON_MEMORY_REGION(address, size_bytes) static_cast<void>(0)
#endif

namespace modeld::base {
namespace {

constexpr size_t kStackBytes = 256 << 10;

// All that the child needs, made ready by the parent. They share memory until exec (CLONE_VM), and
// the parent sleeps until then (CLONE_VFORK): so the child reports its failure by writing it here.
struct ChildPlan {
  const char* path;
  char* const* argv;
  char* const* envp;
  std::pair<int, int>* fds;  // sources are overwritten by the child's own copies
  size_t fd_count;
  int first_free_fd;  // above every target
  pid_t parent;
  bool new_session;
  int parent_death_signal;
  // Out.
  int error = 0;
  const char* failed_call = "";
};

// Runs in the child on its own stack. Nothing is returned to: either exec or _exit. System calls
// only, by number: the child shares the parent's memory and thread-local storage, and a sanitizer's
// wrappers (of execve and sigaction, say) would keep their books on the parent's thread, for a call
// that never returns.
MODELD_NO_TSAN int RunChild(void* argument) {
  auto& plan = *static_cast<ChildPlan*>(argument);

  // Handlers point into the parent's code: none must run here. Zeroes are the kernel's SIG_DFL.
  constexpr long kKernelSigsetBytes = 8;
  const char standard[64] = {};
  for (int signal = 1; signal < NSIG; ++signal) {
    syscall(SYS_rt_sigaction, signal, standard, nullptr, kKernelSigsetBytes);
  }

  const char* failed = nullptr;
  if (plan.parent_death_signal != 0) {
    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, plan.parent_death_signal, 0, 0, 0) != 0) {
      failed = "prctl";
    } else if (syscall(SYS_getppid) != plan.parent) {
      syscall(SYS_exit_group, 127);  // it died before the line above
    }
  }
  if (failed == nullptr && plan.new_session && syscall(SYS_setsid) < 0) failed = "setsid";

  // Sources first go above every target, so that no dup3 overwrites one that is still needed.
  for (size_t i = 0; failed == nullptr && i < plan.fd_count; ++i) {
    plan.fds[i].first = static_cast<int>(
        syscall(SYS_fcntl, plan.fds[i].first, F_DUPFD_CLOEXEC, plan.first_free_fd));
    if (plan.fds[i].first < 0) failed = "fcntl";
  }
  // Kernels before 5.11 do not know the flag; there CLOEXEC from birth has to do.
  if (failed == nullptr) syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
  for (size_t i = 0; failed == nullptr && i < plan.fd_count; ++i) {
    if (syscall(SYS_dup3, plan.fds[i].first, plan.fds[i].second, 0) < 0) failed = "dup3";
  }

  if (failed == nullptr) {
    const char none[kKernelSigsetBytes] = {};
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, nullptr, kKernelSigsetBytes);
    syscall(SYS_execve, plan.path, plan.argv, plan.envp);
    failed = "execve";
  }
  plan.error = errno;
  plan.failed_call = failed;
  syscall(SYS_exit_group, 127);
  return 127;
}

std::vector<std::string> MergedEnvironment(const std::vector<std::string>& additions) {
  const auto name = [](std::string_view variable) {
    return variable.substr(0, variable.find('='));
  };
  std::vector<std::string> merged;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const bool replaced =
        std::any_of(additions.begin(), additions.end(),
                    [&](const std::string& addition) { return name(addition) == name(*variable); });
    if (!replaced) merged.emplace_back(*variable);
  }
  merged.insert(merged.end(), additions.begin(), additions.end());
  return merged;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

absl::Status SpawnError(const std::string& path, const char* call, int error) {
  const std::string message =
      absl::StrCat("cannot start ", path, ": ", call, ": ", wire::ErrnoText(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

std::string ExitStatus::Text() const {
  if (!signaled) return absl::StrCat("exited with code ", value);
  const char* description = sigdescr_np(value);
  return absl::StrCat("killed by signal ", value, " (",
                      description != nullptr ? description : "unknown", ")");
}

absl::StatusOr<ChildProcess> ChildProcess::Spawn(const Options& options) {
  std::vector<std::string> args = {options.path};
  args.insert(args.end(), options.args.begin(), options.args.end());
  std::vector<std::string> environment = MergedEnvironment(options.env);
  const std::vector<char*> argv = Pointers(args);
  const std::vector<char*> envp = Pointers(environment);

  std::vector<std::pair<int, int>> fds = options.fds;
  wire::UniqueFd null;
  if (std::none_of(fds.begin(), fds.end(), [](const auto& fd) { return fd.second == 0; })) {
    null.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null.valid()) return SpawnError(options.path, "open of /dev/null", errno);
    fds.emplace_back(null.get(), 0);
  }
  int first_free_fd = 3;
  for (const auto& [source, target] : fds) first_free_fd = std::max(first_free_fd, target + 1);

  void* const stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return SpawnError(options.path, "mmap", errno);
  const wire::Mapping owned_stack(stack, kStackBytes);

  ChildPlan plan{.path = options.path.c_str(),
                 .argv = argv.data(),
                 .envp = envp.data(),
                 .fds = fds.data(),
                 .fd_count = fds.size(),
                 .first_free_fd = first_free_fd,
                 .parent = getpid(),
                 .new_session = options.new_session,
                 .parent_death_signal = options.parent_death_signal};

  // A signal handler that ran in the child would run on the parent's memory.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const pid_t pid = clone(RunChild, static_cast<char*>(stack) + kStackBytes,
                          CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
  const int clone_error = errno;
  // The child never returned from its functions: AddressSanitizer keeps what lies there for the
  // edges of their variables, whoever is given these addresses next.
  ASAN_UNPOISON_MEMORY_REGION(stack, kStackBytes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return SpawnError(options.path, "clone", clone_error);

  ChildProcess child(pid, wire::UniqueFd(pidfd));  // CLOEXEC: CLONE_PIDFD sees to it
  if (plan.error != 0) return SpawnError(options.path, plan.failed_call, plan.error);
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      pidfd_(std::move(other.pidfd_)),
      exit_(std::exchange(other.exit_, std::nullopt)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    KillAndReap();
    pid_ = std::exchange(other.pid_, 0);
    pidfd_ = std::move(other.pidfd_);
    exit_ = std::exchange(other.exit_, std::nullopt);
  }
  return *this;
}

ChildProcess::~ChildProcess() { KillAndReap(); }

void ChildProcess::KillAndReap() {
  if (!valid() || exit_) return;
  Kill(SIGKILL);
  Wait();
}

void ChildProcess::Kill(int signal) const {
  // By number: glibc 2.36 declares the wrapper without C linkage.
  if (valid()) syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

std::optional<ExitStatus> ChildProcess::Wait(std::optional<TimePoint> deadline) {
  if (exit_) return exit_;
  while (deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - SystemClock().Now());
    pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    const int ready =
        poll(&ended, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT_MAX)));
    if (ready > 0) break;
    if (ready == 0 && left.count() <= INT_MAX) return std::nullopt;
  }
  siginfo_t info = {};
  int result = 0;
  do {
    result = waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED);
  } while (result != 0 && errno == EINTR);
  // ECHILD: the process ignores SIGCHLD, so the kernel reaped the child and forgot how it ended.
  exit_ = result != 0 ? ExitStatus{.signaled = false, .value = 255}
                      : ExitStatus{.signaled = info.si_code != CLD_EXITED, .value = info.si_status};
  return exit_;
}

void ChildProcess::Detach() {
  pid_ = 0;
  pidfd_.reset();
  exit_.reset();
}

absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& directory) {
  std::vector<std::string> directories;
  const char* const configured = std::getenv("MODELD_LIBEXEC_DIR");
  if (!directory.empty()) {
    directories = {directory};
  } else if (configured != nullptr && *configured != '\0') {
    directories = {configured};
  } else {
    char self[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
    if (length < 0) {
      return absl::NotFoundError(
          absl::StrCat("cannot find ", name, ": /proc/self/exe: ", wire::ErrnoText(errno)));
    }
    const std::string_view path(self, static_cast<size_t>(length));
    const std::string beside(path.substr(0, path.rfind('/')));
    directories = {beside, absl::StrCat(beside, "/../libexec/modeld")};
  }
  for (const std::string& candidate : directories) {
    std::string path = absl::StrCat(candidate, "/", name);
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return absl::NotFoundError(absl::StrCat("cannot find the program ", name, " in ",
                                          absl::StrJoin(directories, " or "),
                                          "; set MODELD_LIBEXEC_DIR to its directory"));
}

}  // namespace modeld::base
