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

Verb PinVerb() {
  const auto selector = std::make_shared<std::optional<std::string>>();
  return {.name = "pin",
          .summary = "Keep a residency from being evicted, or list the pins",
          .example = "  modelctl pin models/backbone.safetensors\n  modelctl pin",
          .arguments = {OptionalOperand("SELECTOR", *selector,
                                        "which residency; left out: list what is pinned")},
          .run = [selector](Environment& environment) {
            return *selector ? Pin(**selector, environment) : ListPins(environment);
          }};
}

}  // namespace modeld::modelctl
