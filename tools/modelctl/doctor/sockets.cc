#include <sys/stat.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "modelctl/doctor/checks.h"

namespace modeld::modelctl::doctor {
namespace {

// A sockaddr_un's, without the zero at its end.
constexpr size_t kMostPathBytes = 107;
// What an agent of a GPU serves, beside modeld.sock.
constexpr char kLongestName[] = "agent-GPU-00000000-0000-0000-0000-000000000000.sock";

void CheckPath(const std::string& directory, DoctorReport& report) {
  const size_t length = directory.size() + 1 + sizeof(kLongestName) - 1;
  if (length <= kMostPathBytes) return;
  Bad(report, "socket paths",
      absl::StrCat("a GPU's socket in ", directory, " would have a path of ", length,
                   " bytes, and ", kMostPathBytes, " are possible"),
      "choose a shorter one: modeld --runtime-dir DIR, or runtime_dir in modeld.toml");
}

std::string OwnerText(const FileFacts& file) {
  return absl::StrFormat("owner %d, group %d, mode %04o", file.uid, file.gid, file.mode & 07777);
}

void CheckSocket(const Patient& patient, const std::string& path, bool for_operators,
                 DoctorReport& report) {
  constexpr char kCheck[] = "sockets";
  const auto socket = patient.machine.Look(path);
  if (!socket || !S_ISSOCK(socket->mode)) {
    return Bad(report, kCheck, absl::StrCat(path, " is missing or no socket"),
               "restart modeld; nothing but modeld should touch its runtime directory");
  }
  if (!patient.machine.Permits(*socket, 2)) {
    if (for_operators) {
      return Good(
          report, kCheck,
          absl::StrCat("operator verbs are for uid ", socket->uid, " and root (", path, ")"));
    }
    return Bad(report, kCheck,
               absl::StrCat("you may not connect to ", path, " (", OwnerText(*socket), ")"),
               absl::StrCat("join group ", socket->gid,
                            " (usermod -aG), or set socket_group in modeld.toml"));
  }
  const absl::Status connected = patient.machine.probes().connect(path);
  if (connected.ok()) return;
  Bad(report, kCheck, absl::StrCat("nobody serves ", path, ": ", std::string(connected.message())),
      "it was left by a modeld that is gone: start modeld, which takes it over");
}

}  // namespace

void CheckSockets(const Patient& patient, DoctorReport& report) {
  constexpr char kCheck[] = "sockets";
  if (!patient.endpoint) {
    return Bad(report, kCheck, "nobody says where modeld's sockets are: XDG_RUNTIME_DIR is not set",
               "set XDG_RUNTIME_DIR or MODELD_ENDPOINT, or name one with -H");
  }
  const std::string directory = patient.endpoint->directory();
  CheckPath(directory, report);
  const auto facts = patient.machine.Look(directory);
  if (!facts) {
    return Good(report, kCheck, absl::StrCat("no modeld here yet: ", directory, " does not exist"));
  }
  if ((facts->mode & S_IWOTH) != 0) {
    Bad(report, kCheck,
        absl::StrCat("everybody may write to ", directory, " (", OwnerText(*facts),
                     "), so modeld refuses it"),
        absl::StrCat("chmod o-w ", directory));
  }
  if (!patient.machine.Permits(*facts, 1)) {
    return Bad(report, kCheck,
               absl::StrCat("you may not enter ", directory, " (", OwnerText(*facts), ")"),
               absl::StrCat("join group ", facts->gid,
                            " (usermod -aG), or set socket_group in modeld.toml"));
  }
  if (!patient.machine.Exists(patient.endpoint->modeld)) {
    return Good(report, kCheck, absl::StrCat("no modeld serves ", directory, " now"));
  }
  const int before = report.findings_size();
  CheckSocket(patient, patient.endpoint->modeld, /*for_operators=*/false, report);
  CheckSocket(patient, patient.endpoint->attach, /*for_operators=*/false, report);
  CheckSocket(patient, patient.endpoint->admin, /*for_operators=*/true, report);
  if (report.findings_size() == before) {
    Good(report, kCheck, absl::StrCat("modeld serves ", directory, ", and you may connect"));
  }
  if (patient.daemon && patient.daemon->server.roots().empty()) {
    Bad(report, "roots", "modeld has none, so no checkpoint can be opened",
        "set roots in modeld.toml, or --root DIR");
  }
}

}  // namespace modeld::modelctl::doctor
