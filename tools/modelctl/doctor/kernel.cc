#include <string.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "modelctl/doctor/checks.h"

namespace modeld::modelctl::doctor {
namespace {

struct Needed {
  const char* name;
  const char* since;
  const char* what_for;
};

constexpr Needed kNeeded[] = {
    {"memfd_create", "3.17", "to share host memory"},
    {"pidfd_open", "5.3", "to know its agents"},
    {"openat2", "5.6", "to keep references beneath their roots"},
};

}  // namespace

void CheckKernel(const Patient& patient, DoctorReport& report) {
  const Machine& machine = patient.machine;
  const std::string release = machine.Read("/proc/sys/kernel/osrelease").value_or("unknown");
  bool whole = true;
  for (const Needed& needed : kNeeded) {
    const int error = machine.probes().syscall(needed.name);
    if (error == 0) continue;
    whole = false;
    Bad(report, "kernel",
        absl::StrCat(needed.name, " fails (", ::strerror(error), "), which modeld needs ",
                     needed.what_for),
        absl::StrCat("use Linux ", needed.since, " or newer (this is ", release,
                     "); on one that is, a seccomp filter takes it away: update the container "
                     "runtime, and set no RestrictSUIDSGID in systemd"));
  }
  if (whole) Good(report, "kernel", absl::StrCat("Linux ", release, " has what modeld needs"));

  const int abi = machine.probes().landlock_abi();
  if (abi > 0) {
    Good(report, "landlock", absl::StrCat("ABI ", abi, ": parsers see no file system"));
    return;
  }
  const auto modules = machine.Read("/sys/kernel/security/lsm");
  const bool left_out = modules && !absl::StrContains(*modules, "landlock");
  Warn(report, "landlock", "not there: parsers of checkpoints are held by seccomp alone",
       left_out ? absl::StrCat("boot with lsm=landlock,", *modules)
                : "use Linux 5.13 or newer, and a container runtime that lets landlock through");
}

}  // namespace modeld::modelctl::doctor
