// modelctl doctor: what is wrong on this machine, and how to mend it.

#include "absl/strings/str_cat.h"
#include "modelctl/call.h"
#include "modelctl/doctor/checks.h"
#include "modelctl/error.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

// Absent where there is none, or it does not answer: the checks of the sockets say why.
std::optional<doctor::Daemon> AskDaemon(Environment& environment) {
  using Stub = v1::ResidencyService::Stub;
  const auto server = Call<v1::ResidencyService>(environment, &Stub::GetServerInfo, {});
  if (!server.ok()) return std::nullopt;
  const auto devices = Call<v1::ResidencyService>(environment, &Stub::ListDevices, {});
  if (!devices.ok()) return std::nullopt;
  return doctor::Daemon{*server, *devices};
}

absl::Status Doctor(Environment& environment) {
  const doctor::Machine machine("", doctor::RealProbes());
  doctor::Patient patient{machine, std::nullopt, std::nullopt};
  if (const auto endpoint = environment.GetEndpoint(); endpoint.ok()) {
    patient.endpoint = *endpoint;
    patient.daemon = AskDaemon(environment);
  }
  const DoctorReport report = doctor::Examine(patient);
  const absl::Status written = environment.Write(environment.MakePrinter()->Doctor(report));
  if (!written.ok() || report.problems() == 0) return written;
  return ErrorWithHint(
      absl::StatusCode::kUnknown,
      absl::StrCat(report.problems(), report.problems() == 1 ? " problem" : " problems"),
      "mend what it says, then: modelctl doctor");
}

}  // namespace

Verb DoctorVerb() {
  return {.name = "doctor",
          .summary =
              "Find what is wrong on this machine, with and without a modeld: exit 0 if nothing, "
              "1 if something",
          .example = "  modelctl doctor\n  modelctl doctor -o name   # what has a problem",
          .run = Doctor};
}

}  // namespace modeld::modelctl
