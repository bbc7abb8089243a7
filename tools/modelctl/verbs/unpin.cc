// modelctl unpin: lets a pinned residency be evicted again.

#include <memory>

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Unpin(const std::string& selector, Environment& environment) {
  v1::UnpinRequest request;
  request.set_selector(selector);
  const auto reply = Call<v1::AdminService>(environment, &v1::AdminService::Stub::Unpin, request);
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Unpinned(*reply));
}

}  // namespace

Verb UnpinVerb() {
  const auto selector = std::make_shared<std::string>();
  return {.name = "unpin",
          .summary = "Let a pinned residency be evicted again",
          .example = "  modelctl unpin models/backbone.safetensors",
          .arguments = {Operand("SELECTOR", *selector,
                                "which residency, or the reference of one that is not there any "
                                "more (see modelctl pin)")},
          .run = [selector](Environment& environment) { return Unpin(*selector, environment); }};
}

}  // namespace modeld::modelctl
