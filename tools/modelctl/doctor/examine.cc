#include "modelctl/doctor/checks.h"

namespace modeld::modelctl::doctor {
namespace {

void Add(DoctorReport& report, Finding::Level level, const std::string& check,
         const std::string& found, const std::string& mend) {
  Finding& finding = *report.add_findings();
  finding.set_level(level);
  finding.set_check(check);
  finding.set_found(found);
  finding.set_mend(mend);
}

}  // namespace

void Good(DoctorReport& report, const std::string& check, const std::string& found) {
  Add(report, Finding::OK, check, found, "");
}

void Warn(DoctorReport& report, const std::string& check, const std::string& found,
          const std::string& mend) {
  Add(report, Finding::WARNING, check, found, mend);
}

void Bad(DoctorReport& report, const std::string& check, const std::string& found,
         const std::string& mend) {
  Add(report, Finding::PROBLEM, check, found, mend);
}

DoctorReport Examine(const Patient& patient) {
  DoctorReport report;
  for (const auto check : {CheckKernel, CheckMemory, CheckLimits, CheckSockets, CheckDaemon,
                           CheckGpus, CheckContainer, CheckService}) {
    check(patient, report);
  }
  for (const Finding& finding : report.findings()) {
    if (finding.level() == Finding::WARNING) report.set_warnings(report.warnings() + 1);
    if (finding.level() == Finding::PROBLEM) report.set_problems(report.problems() + 1);
  }
  return report;
}

}  // namespace modeld::modelctl::doctor
