// modelctl leases: who holds what.

#include <memory>

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Leases(const std::string& selector, Environment& environment) {
  v1::ListLeasesRequest request;
  request.set_selector(selector);
  const auto reply =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::ListLeases, request);
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Leases(*reply));
}

}  // namespace

void AddLeases(CLI::App& app, Verb& chosen) {
  const auto selector = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("leases", "List the leases with their holders, as the kernel knows them");
  verb->add_option("SELECTOR", *selector, "of this residency only");
  verb->footer(Example("  modelctl leases models/backbone.safetensors"));
  verb->callback([selector, &chosen] {
    chosen = [selector](Environment& environment) { return Leases(*selector, environment); };
  });
}

}  // namespace modeld::modelctl
