#include <sys/stat.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "modelctl/doctor/checks.h"

namespace modeld::modelctl::doctor {
namespace {

bool InContainer(const Machine& machine) {
  return machine.Exists("/.dockerenv") || machine.Exists("/run/.containerenv") ||
         machine.Exists("/run/systemd/container");
}

// The whole range of ids is mapped to itself.
bool HasAllUsers(const Machine& machine) {
  const auto map = machine.Read("/proc/self/uid_map");
  if (!map) return true;
  const std::vector<std::string> words =
      absl::StrSplit(*map, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  return words.size() == 3 && words[0] == "0" && words[1] == "0";
}

}  // namespace

void CheckContainer(const Patient& patient, DoctorReport& report) {
  constexpr char kCheck[] = "namespaces";
  const Machine& machine = patient.machine;
  const int before = report.findings_size();
  if (patient.daemon && patient.daemon->server.pid() > 0) {
    const std::string pid = absl::StrCat(patient.daemon->server.pid());
    const auto comm = machine.Read(absl::StrCat("/proc/", pid, "/comm"));
    if (!comm || !absl::StartsWith(*comm, "modeld")) {
      Warn(report, kCheck,
           absl::StrCat("process ", pid,
                        " is no modeld here: modeld runs in another PID namespace. "
                        "Holders have no pids in `modelctl leases`, and legacy CUDA IPC does not "
                        "work across"),
           "share the namespace (--pid=host, --pid=container:NAME), or use gpu_export = \"vmm\"");
    }
  }
  if (!HasAllUsers(machine)) {
    Warn(
        report, kCheck,
        "this is a user namespace: modeld outside sees other uids than you see here, and admits by "
        "those",
        "put the outer ids (/proc/self/uid_map) into allow_uids and allow_gids");
  }
  if (machine.Read("/proc/sys/fs/overflowuid").has_value() && patient.endpoint) {
    const auto socket = machine.Look(patient.endpoint->modeld);
    if (socket && socket->uid == 65534) {
      Warn(report, kCheck,
           absl::StrCat("the owner of ", patient.endpoint->modeld,
                        " has no id in this user namespace: its permissions are those of others"),
           "map the owner into the namespace, or let modeld run inside");
    }
  }
  if (report.findings_size() > before) return;
  Good(report, kCheck,
       InContainer(machine) ? "in a container; what modeld needs to share gets through"
                            : "no container is in the way");
}

}  // namespace modeld::modelctl::doctor
