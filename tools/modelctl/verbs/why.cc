// modelctl why: why a residency is here, or not any more.

#include <memory>

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Why(const std::string& selector, Environment& environment) {
  v1::ExplainResidencyRequest request;
  request.set_selector(selector);
  const auto reply = Call<v1::ResidencyService>(
      environment, &v1::ResidencyService::Stub::ExplainResidency, request);
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Explained(*reply));
}

}  // namespace

Verb WhyVerb() {
  const auto selector = std::make_shared<std::string>();
  return {.name = "why",
          .aliases = {"explain"},
          .summary = "Say why a residency is here, or not any more, and what would go next",
          .example = "  modelctl why models/backbone.safetensors",
          .arguments = {Operand("SELECTOR", *selector, "which residency, also one that has gone")},
          .run = [selector](Environment& environment) { return Why(*selector, environment); }};
}

}  // namespace modeld::modelctl
