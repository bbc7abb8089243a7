// modelctl version: of this program and of modeld.

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Version(Environment& environment) {
  VersionReport report;
  report.set_client_version(MODELD_VERSION);
  const auto server =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::GetServerInfo, {});
  if (server.ok()) *report.mutable_server() = *server;
  // One's own version is told also when there is no modeld.
  const absl::Status written = environment.Write(environment.MakePrinter()->Version(report));
  return server.ok() ? written : server.status();
}

}  // namespace

void AddVersion(CLI::App& app, Verb& chosen) {
  CLI::App* verb = app.add_subcommand("version", "Show the versions of modelctl and of modeld");
  verb->footer(Example("  modelctl version -o wide"));
  verb->callback([&chosen] { chosen = Version; });
}

}  // namespace modeld::modelctl
