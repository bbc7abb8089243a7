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

Verb LeasesVerb() {
  const auto selector = std::make_shared<std::optional<std::string>>();
  return {.name = "leases",
          .summary = "List the leases with their holders, as the kernel knows them",
          .example = "  modelctl leases models/backbone.safetensors",
          .arguments = {OptionalOperand("SELECTOR", *selector, "of this residency only")},
          .run = [selector](Environment& environment) {
            return Leases(selector->value_or(""), environment);
          }};
}

}  // namespace modeld::modelctl
