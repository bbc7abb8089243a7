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

Verb VersionVerb() {
  return {.name = "version",
          .summary = "Show the versions of modelctl and of modeld",
          .example = "  modelctl version -o wide",
          .run = Version};
}

}  // namespace modeld::modelctl
