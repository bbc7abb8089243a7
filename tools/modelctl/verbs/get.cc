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

Verb GetVerb() {
  const auto selector = std::make_shared<std::string>();
  return {.name = "get",
          .summary = "Show one residency and who holds it",
          .example = "  modelctl get 3f2a",
          .arguments = {Operand("SELECTOR", *selector, "which residency")},
          .run = [selector](Environment& environment) { return Get(*selector, environment); }};
}

}  // namespace modeld::modelctl
