#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "modelctl/doctor/checks.h"
#include "modelctl/text.h"

namespace modeld::modelctl::doctor {
namespace {

constexpr uint64_t kUnlimited = ~uint64_t{0};
// Four for a residency, two for a client, and some.
constexpr uint64_t kFewDescriptors = 4096;
// What an agent of a GPU locks to copy from, and a driver besides.
constexpr uint64_t kLittleLocked = uint64_t{256} << 20;

// The hard limit in /proc/PID/limits, of the line that begins so.
std::optional<uint64_t> HardLimit(const Machine& machine, const std::string& process,
                                  const std::string& name) {
  const auto text = machine.Read(absl::StrCat("/proc/", process, "/limits"));
  if (!text) return std::nullopt;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::StartsWith(line, name)) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line.substr(name.size()), ' ', absl::SkipEmpty());
    if (words.size() < 2) return std::nullopt;
    if (words[1] == "unlimited") return kUnlimited;
    uint64_t value = 0;
    if (!absl::SimpleAtoi(words[1], &value)) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

bool HasGpus(const Patient& patient) {
  return patient.machine.Exists("/proc/driver/nvidia/version");
}

}  // namespace

void CheckLimits(const Patient& patient, DoctorReport& report) {
  const Machine& machine = patient.machine;
  // Those of a modeld that runs count; a shell's own are what it would start one with.
  std::string process = "self";
  std::string whose = "a modeld started from here";
  if (patient.daemon && machine.Exists(absl::StrCat("/proc/", patient.daemon->server.pid()))) {
    process = absl::StrCat(patient.daemon->server.pid());
    whose = absl::StrCat("modeld (process ", process, ")");
  }
  if (const auto files = HardLimit(machine, process, "Max open files")) {
    const std::string found = absl::StrCat(whose, " may open ", *files, " files");
    if (*files < kFewDescriptors) {
      Bad(report, "open files",
          absl::StrCat(found, ": each residency takes about 4, each client 2"),
          "raise LimitNOFILE in systemd, `ulimit -Hn` in a shell, or nofile in "
          "/etc/security/limits.conf");
    } else {
      Good(report, "open files", found);
    }
  }
  if (patient.daemon) {
    const auto& server = patient.daemon->server;
    if (server.fd_limit() > 0 && server.open_fds() > server.fd_limit() / 10 * 9) {
      Bad(report, "open files",
          absl::StrCat("modeld has ", server.open_fds(), " of ", server.fd_limit(), " open"),
          "raise LimitNOFILE in systemd and restart it");
    }
  }
  const auto locked = HardLimit(machine, process, "Max locked memory");
  if (!locked) return;
  const std::string found =
      absl::StrCat(whose, " may lock ", *locked == kUnlimited ? "any amount" : HumanBytes(*locked),
                   " of memory");
  if (HasGpus(patient) && *locked < kLittleLocked) {
    Warn(report, "locked memory",
         absl::StrCat(found, ", and page-locked buffers are what GPUs are loaded from"),
         "LimitMEMLOCK=infinity in systemd, or memlock in /etc/security/limits.conf");
  } else {
    Good(report, "locked memory", found);
  }
}

}  // namespace modeld::modelctl::doctor
