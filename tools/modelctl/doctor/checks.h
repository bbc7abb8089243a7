// What `modelctl doctor` looks at.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "modelctl/doctor/machine.h"
#include "modelctl/endpoint.h"
#include "modelctl/report.pb.h"
#include "modeld/v1/residency_service.pb.h"

namespace modeld::modelctl::doctor {

// What a modeld that runs says of itself; all checks work without one.
struct Daemon {
  v1::GetServerInfoResponse server;
  v1::ListDevicesResponse devices;
};

struct Patient {
  const Machine& machine;
  std::optional<Endpoint> endpoint;  // absent: nobody says where the sockets are
  std::optional<Daemon> daemon;
};

// Pure but for the machine's probes. Each adds what it finds, good and bad, in words for an
// operator: what is so, and, where it should not be, what to do.
void CheckKernel(const Patient& patient, DoctorReport& report);     // system calls, Landlock
void CheckMemory(const Patient& patient, DoctorReport& report);     // pages, capacity, cgroups
void CheckLimits(const Patient& patient, DoctorReport& report);     // descriptors, locked memory
void CheckSockets(const Patient& patient, DoctorReport& report);    // paths, permissions
void CheckDaemon(const Patient& patient, DoctorReport& report);     // what it says of itself
void CheckGpus(const Patient& patient, DoctorReport& report);       // driver, device files
void CheckContainer(const Patient& patient, DoctorReport& report);  // namespaces
void CheckService(const Patient& patient, DoctorReport& report);    // systemd

// All of them, in that order, with the counts.
DoctorReport Examine(const Patient& patient);

// For the checks.
void Good(DoctorReport& report, const std::string& check, const std::string& found);
// It works, but worse than it could.
void Warn(DoctorReport& report, const std::string& check, const std::string& found,
          const std::string& mend);
// Something that somebody wants does not work.
void Bad(DoctorReport& report, const std::string& check, const std::string& found,
         const std::string& mend);

}  // namespace modeld::modelctl::doctor
