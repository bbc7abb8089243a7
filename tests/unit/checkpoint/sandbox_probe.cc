// Enters the parser's sandbox and then tries to get out: one line `NAME ERRNO` for each attempt on
// stdout, 0 for one that succeeded. sandbox_test runs it.
//
// usage: sandbox_probe all|landlock|seccomp FILE DIRECTORY

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "checkpoint/sandbox.h"

namespace {

void Say(const char* name, long number) {
  char line[128];
  const int length = std::snprintf(line, sizeof(line), "%s %ld\n", name, number);
  if (write(STDOUT_FILENO, line, static_cast<size_t>(length)) != length) _exit(1);
}

// `result` as system calls give it: negative with errno set.
void Tried(const char* name, long result) { Say(name, result < 0 ? errno : 0); }

void TriedMapping(const char* name, void* result) { Say(name, result == MAP_FAILED ? errno : 0); }

// A child that does come to life ends at once.
void TriedChild(const char* name, long pid) {
  if (pid == 0) _exit(0);
  Tried(name, pid);
}

long Connect(int fd, uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

long Bind(int fd) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(54321);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

struct Given {
  std::string file;       // there, readable
  std::string directory;  // there, writable
  int tcp;                // a socket from before
  int file_fd;            // the file, open from before
};

void TryFiles(const Given& given) {
  Tried("open", open(given.file.c_str(), O_RDONLY));
  Tried("open-write", open(given.file.c_str(), O_WRONLY));
  Tried("create", open((given.directory + "/new").c_str(), O_WRONLY | O_CREAT, 0600));
  Tried("opendir", open(given.directory.c_str(), O_RDONLY | O_DIRECTORY));
  Tried("mkdir", mkdir((given.directory + "/newdir").c_str(), 0700));
  Tried("unlink", unlink(given.file.c_str()));
  Tried("symlink", symlink("/", (given.directory + "/link").c_str()));
  Tried("mknod", mknod((given.directory + "/fifo").c_str(), S_IFIFO | 0600, 0));
  Tried("truncate", truncate(given.file.c_str(), 0));
  char* const argv[] = {const_cast<char*>("true"), nullptr};
  Tried("execve", execve("/bin/true", argv, nullptr));
}

void TryNetwork(const Given& given) {
  Tried("connect", Connect(given.tcp, 54321));
  Tried("bind", Bind(given.tcp));
}

void TrySignals() { Tried("signal", kill(getppid(), 0)); }

void TryCalls(const Given& given) {
  Tried("socket-unix", socket(AF_UNIX, SOCK_STREAM, 0));
  Tried("socket-inet", socket(AF_INET, SOCK_STREAM, 0));
  Tried("socket-netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  int pair[2];
  Tried("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  TriedChild("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  TriedChild("clone3", syscall(SYS_clone3, nullptr, 0));
  Tried("unshare", unshare(CLONE_NEWUSER));
  Tried("ptrace", ptrace(PTRACE_ATTACH, getppid(), nullptr, nullptr));
  char byte = 0;
  iovec local = {&byte, 1};
  iovec remote = {reinterpret_cast<void*>(0x400000), 1};
  Tried("process_vm_readv", process_vm_readv(1, &local, 1, &remote, 1, 0));
  Tried("pidfd_open", syscall(SYS_pidfd_open, 1, 0));
  Tried("memfd_create", memfd_create("out", 0));
  TriedMapping("mmap-exec",
               mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  TriedMapping("mmap-file", mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, given.file_fd, 0));
  void* const page =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Tried("mprotect-exec", mprotect(page, 4096, PROT_READ | PROT_EXEC));
  Tried("prctl", prctl(PR_SET_DUMPABLE, 1));
  const rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
  Tried("setrlimit", setrlimit(RLIMIT_AS, &more));
  Tried("fcntl", fcntl(given.file_fd, F_SETFL, O_APPEND));
  Tried("dup", dup(given.file_fd));
  Tried("ioctl", syscall(SYS_ioctl, 1, 0x5401, &byte));
  struct stat status;
  Tried("stat", stat(given.file.c_str(), &status));
  Tried("chdir", chdir("/"));
  Tried("io_uring", syscall(SYS_io_uring_setup, 1, nullptr));
  Tried("bpf", syscall(SYS_bpf, 0, nullptr, 0));
  Tried("perf_event_open", syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
  Tried("userfaultfd", syscall(SYS_userfaultfd, 0));
  Tried("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  Tried("mount", syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, nullptr));
}

// What must go on working, told by 0.
void TryAllowed(const Given& given) {
  char byte = 0;
  Tried("ok-pread", pread(given.file_fd, &byte, 1, 0));
  void* const memory = std::malloc(64 << 20);
  Say("ok-malloc", memory == nullptr ? ENOMEM : 0);
  if (memory != nullptr) std::memset(memory, 1, 64 << 20);
  std::free(memory);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string mode = argv[1];
  const Given given = {.file = argv[2],
                       .directory = argv[3],
                       .tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                       .file_fd = open(argv[2], O_RDONLY | O_CLOEXEC)};
  if (given.tcp < 0 || given.file_fd < 0) return 2;
  const int extra = dup2(given.file_fd, 100);
  if (mode == "all") {
    const auto report = modeld::checkpoint::EnterSandbox(
        {.address_space_bytes = 256 << 20, .last_fd = std::max(given.tcp, given.file_fd)});
    if (!report.ok()) return 3;
    Say("landlock", report->landlock_abi);
    Say("seccomp", report->seccomp);
    Tried("other-fd", read(extra, nullptr, 0));
    TryFiles(given);
    TryNetwork(given);
    TrySignals();
    TryCalls(given);
    // Three of them are more than the limit, whatever is mapped already.
    if (!modeld::checkpoint::kSanitizerBuild) {
      TriedMapping("memory", mmap(nullptr, 256 << 20, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    }
  } else {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 3;
    if (mode == "landlock") {
      const uint32_t abi = modeld::checkpoint::RestrictWithLandlock();
      Say("landlock", abi);
      TryFiles(given);
      if (abi >= 4) TryNetwork(given);
      if (abi >= 6) TrySignals();
    } else {
      Say("seccomp", modeld::checkpoint::RestrictSystemCalls());
      TryFiles(given);
      TryNetwork(given);
      TrySignals();
      TryCalls(given);
    }
  }
  TryAllowed(given);
  _exit(0);
}
