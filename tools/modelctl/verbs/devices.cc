// modelctl devices: where residencies live, and how much room there is.

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Devices(Environment& environment) {
  const auto reply =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::ListDevices, {});
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Devices(*reply));
}

}  // namespace

void AddDevices(CLI::App& app, Verb& chosen) {
  CLI::App* verb = app.add_subcommand(
      "devices", "List the devices: their bytes, pages, agents, and the parser's sandbox");
  verb->footer(Example("  modelctl devices -o wide"));
  verb->callback([&chosen] { chosen = Devices; });
}

}  // namespace modeld::modelctl
