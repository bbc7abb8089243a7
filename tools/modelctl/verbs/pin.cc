// modelctl pin: keeps a residency from being evicted.

#include <memory>

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Pin(const std::string& selector, Environment& environment) {
  v1::PinRequest request;
  request.set_selector(selector);
  const auto reply = Call<v1::AdminService>(environment, &v1::AdminService::Stub::Pin, request);
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Pinned(*reply));
}

}  // namespace

void AddPin(CLI::App& app, Verb& chosen) {
  const auto selector = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("pin", "Keep a residency from being evicted");
  verb->add_option("SELECTOR", *selector, "which residency")->required();
  verb->footer(Example("  modelctl pin models/backbone.safetensors"));
  verb->callback([selector, &chosen] {
    chosen = [selector](Environment& environment) { return Pin(*selector, environment); };
  });
}

}  // namespace modeld::modelctl
