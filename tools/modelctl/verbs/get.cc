// modelctl get: one residency in detail.

#include <memory>

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Get(const std::string& selector, Environment& environment) {
  v1::GetResidencyRequest request;
  request.set_selector(selector);
  const auto reply =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::GetResidency, request);
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Residency(*reply));
}

}  // namespace

void AddGet(CLI::App& app, Verb& chosen) {
  const auto selector = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("get", "Show one residency and who holds it");
  verb->add_option("SELECTOR", *selector, "which residency")->required();
  verb->footer(Example("  modelctl get 3f2a"));
  verb->callback([selector, &chosen] {
    chosen = [selector](Environment& environment) { return Get(*selector, environment); };
  });
}

}  // namespace modeld::modelctl
