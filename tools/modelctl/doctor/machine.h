// A machine as `modelctl doctor` sees it: its files, and what only trying can tell.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace modeld::modelctl::doctor {

struct FileFacts {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

// What only trying can tell.
struct Probes {
  // The error of a system call that does no harm: 0 when it works, ENOSYS or EPERM when it is not
  // there or forbidden. Names: memfd_create, openat2, pidfd_open.
  std::function<int(std::string_view name)> syscall;
  // ABI version; 0: none.
  std::function<int()> landlock_abi;
  // Does somebody accept connections on that socket?
  std::function<absl::Status(const std::string& path)> connect;
  // `systemctl show modeld.service` of the system or of the user: KEY=VALUE lines; empty when
  // systemd does not answer.
  std::function<std::string(bool user)> systemctl_show;
};

Probes RealProbes();

// Paths are those of the machine; they are looked up below a prefix, so that a test can have a
// machine of its own. Files in /proc/self are of the process that asks. Reads are bounded; what
// cannot be read is absent. Thread-safe.
class Machine {
 public:
  Machine(std::string prefix, Probes probes)
      : prefix_(std::move(prefix)), probes_(std::move(probes)) {}

  // Without the newlines at its end.
  std::optional<std::string> Read(const std::string& path) const;
  std::optional<FileFacts> Look(const std::string& path) const;
  bool Exists(const std::string& path) const { return Look(path).has_value(); }
  // Names in a directory, sorted.
  std::vector<std::string> List(const std::string& path) const;
  // Where a symbolic link leads.
  std::optional<std::string> Link(const std::string& path) const;

  // The value of `NAME: value` in such a file (/proc/self/status, /proc/meminfo), trimmed.
  std::optional<std::string> Field(const std::string& path, std::string_view name) const;
  // A number at its start.
  std::optional<uint64_t> Number(const std::string& path, std::string_view name) const;

  // Would a process with the credentials of /proc/self get these permission bits (4, 2, 1) on it?
  bool Permits(const FileFacts& file, unsigned bits) const;

  const Probes& probes() const { return probes_; }

 private:
  const std::string prefix_;
  const Probes probes_;
};

}  // namespace modeld::modelctl::doctor
