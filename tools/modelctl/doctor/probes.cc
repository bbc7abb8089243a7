#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>

#include "modelctl/doctor/machine.h"
#include "wire/framed_socket.h"
#include "wire/unique_fd.h"

extern char** environ;

namespace modeld::modelctl::doctor {
namespace {

constexpr std::chrono::seconds kPatience{5};

int ErrorOf(long result) {
  if (result < 0) return errno;
  ::close(static_cast<int>(result));
  return 0;
}

int TrySyscall(std::string_view name) {
  if (name == "memfd_create") return ErrorOf(::memfd_create("modelctl-doctor", MFD_CLOEXEC));
  if (name == "pidfd_open") return ErrorOf(::syscall(SYS_pidfd_open, ::getpid(), 0));
  if (name == "openat2") {
    struct open_how how = {};
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const wire::UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    return ErrorOf(::syscall(SYS_openat2, root.get(), ".", &how, sizeof(how)));
  }
  return EINVAL;
}

int LandlockAbi() {
  const long abi =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

// What a program prints, as far as it comes in time. Empty if it is not there or fails.
std::string OutputOf(std::vector<const char*> arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "";
  wire::UniqueFd out(ends[0]);
  wire::UniqueFd in(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int spawned = ::posix_spawnp(&child, arguments.front(), &actions, nullptr,
                                     const_cast<char* const*>(arguments.data()), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) return "";
  in.reset();
  std::string text;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  bool whole = false;
  while (!whole) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    struct pollfd readable = {out.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) <= 0) break;
    std::array<char, 4096> part;
    const ssize_t count = ::read(out.get(), part.data(), part.size());
    if (count > 0) text.append(part.data(), static_cast<size_t>(count));
    whole = count == 0;
    if (count < 0) break;
  }
  if (!whole) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  return whole && status == 0 ? text : "";
}

std::string SystemctlShow(bool user) {
  std::vector<const char*> arguments = {"systemctl"};
  if (user) arguments.push_back("--user");
  for (const char* argument : {"show", "modeld.service", "--no-pager", "--property",
                               "LoadState,ActiveState,Type,KillMode,RestartKillSignal,"
                               "RuntimeDirectoryPreserve,FileDescriptorStoreMax,OOMPolicy,"
                               "RestrictSUIDSGID,ProtectHome,User,LimitNOFILE,LimitMEMLOCK"}) {
    arguments.push_back(argument);
  }
  return OutputOf(std::move(arguments));
}

}  // namespace

Probes RealProbes() {
  return {.syscall = TrySyscall,
          .landlock_abi = LandlockAbi,
          .connect =
              [](const std::string& path) {
                return wire::ConnectUnix(path, std::chrono::milliseconds(kPatience)).status();
              },
          .systemctl_show = SystemctlShow};
}

}  // namespace modeld::modelctl::doctor
