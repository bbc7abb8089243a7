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

Verb DevicesVerb() {
  return {.name = "devices",
          .summary = "List the devices: their bytes, pages, agents, and the parser's sandbox",
          .example = "  modelctl devices -o wide",
          .run = Devices};
}

}  // namespace modeld::modelctl
