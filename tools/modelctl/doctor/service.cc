#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "modelctl/doctor/checks.h"

namespace modeld::modelctl::doctor {
namespace {

struct Wanted {
  const char* key;
  const char* value;
  const char* because;
};

constexpr Wanted kWanted[] = {
    {"KillMode", "process", "agents are to outlive a restart, with what they hold"},
    {"RuntimeDirectoryPreserve", "yes",
     "else a restart deletes the sockets by which a new modeld finds its agents, and a stop those "
     "of modeld.socket"},
    {"OOMPolicy", "continue", "else an agent that runs out of memory takes modeld with it"},
    {"RestrictSUIDSGID", "no", "it takes openat2 away, without which no reference can be opened"},
};

std::map<std::string, std::string> Properties(const std::string& text) {
  std::map<std::string, std::string> properties;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits('=', 1));
    properties.insert(pair);
  }
  return properties;
}

void CheckUnit(const std::map<std::string, std::string>& properties, bool user,
               DoctorReport& report) {
  const std::string check = "systemd";
  const std::string whose = user ? "the user's modeld.service" : "modeld.service";
  const std::string mend = absl::StrCat("systemctl ", user ? "--user " : "", "edit modeld: ");
  const int before = report.findings_size();
  for (const Wanted& wanted : kWanted) {
    const auto property = properties.find(wanted.key);
    if (property == properties.end() || property->second == wanted.value) continue;
    Bad(report, check,
        absl::StrCat(whose, " has ", wanted.key, "=", property->second, ": ", wanted.because),
        absl::StrCat(mend, wanted.key, "=", wanted.value));
  }
  const auto signal = properties.find("RestartKillSignal");
  // 12 is SIGUSR2; older systemd leaves the key out.
  if (signal != properties.end() && signal->second != "12" && signal->second != "SIGUSR2") {
    Bad(report, check,
        absl::StrCat(whose, " stops modeld for a restart, which frees all that is loaded"),
        mend + "RestartKillSignal=SIGUSR2");
  }
  const auto store = properties.find("FileDescriptorStoreMax");
  if (store != properties.end() && store->second == "0") {
    Warn(report, check,
         absl::StrCat(whose,
                      " keeps no descriptors: what is loaded does not outlive modeld and its "
                      "agents together"),
         mend + "FileDescriptorStoreMax=8192 and Environment=FDSTORE=8192");
  }
  if (report.findings_size() > before) return;
  const auto active = properties.find("ActiveState");
  Good(report, check,
       absl::StrCat(whose, " is ", active == properties.end() ? "there" : active->second,
                    ", and a restart keeps what is loaded"));
}

}  // namespace

void CheckService(const Patient& patient, DoctorReport& report) {
  bool installed = false;
  for (const bool user : {false, true}) {
    const auto properties = Properties(patient.machine.probes().systemctl_show(user));
    const auto state = properties.find("LoadState");
    if (state == properties.end() || state->second == "not-found") continue;
    installed = true;
    CheckUnit(properties, user, report);
  }
  if (!installed) Good(report, "systemd", "modeld is not installed as a service");
}

}  // namespace modeld::modelctl::doctor
