// modelctl pin: keeps a residency from being evicted, and says what is kept.

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

absl::Status ListPins(Environment& environment) {
  const auto reply =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::ListPins, {});
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Pins(*reply));
}

}  // namespace

void AddPin(CLI::App& app, Verb& chosen) {
  const auto selector = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("pin", "Keep a residency from being evicted, or list the pins");
  verb->add_option("SELECTOR", *selector, "which residency; left out: list what is pinned");
  verb->footer(
      Example("  modelctl pin models/backbone.safetensors\n"
              "  modelctl pin"));
  verb->callback([verb, selector, &chosen] {
    chosen = [selector, lists = verb->count("SELECTOR") == 0](Environment& environment) {
      return lists ? ListPins(environment) : Pin(*selector, environment);
    };
  });
}

}  // namespace modeld::modelctl
