#include "modelctl/doctor/checks.h"

namespace modeld::modelctl::doctor {

void CheckDaemon(const Patient& patient, DoctorReport& report) {
  if (!patient.daemon) return;
  for (const std::string& note : patient.daemon->server.degraded()) {
    Warn(report, "modeld", note, "modeld's log has more: journalctl -u modeld");
  }
}

}  // namespace modeld::modelctl::doctor
