// modelctl load: makes a checkpoint resident.

#include <memory>

#include "modelctl/device_choice.h"
#include "modelctl/load_call.h"
#include "modelctl/spec_arguments.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Load(const v1::PreloadRequest& options, Environment& environment) {
  v1::PreloadRequest request = options;
  auto device = ChooseDevice(environment, request.spec().device());
  if (!device.ok()) return device.status();
  request.mutable_spec()->set_device(*std::move(device));
  const auto loaded = CallLoad<v1::PreloadUpdate>(environment, &v1::AdminService::Stub::Preload,
                                                  request, request.spec().reference());
  if (loaded.ok()) {
    return environment.Write(environment.MakePrinter()->Loaded(loaded->residency()));
  }
  if (!environment.interrupt().raised()) return loaded.status();
  return absl::CancelledError(
      "interrupted: the load is cancelled unless somebody else waits for it");
}

}  // namespace

Verb LoadVerb() {
  const auto request = std::make_shared<v1::PreloadRequest>();
  return {.name = "load",
          .summary = "Make a checkpoint resident and wait until it is READY",
          .example =
              "  modelctl load models/backbone.safetensors --pin\n"
              "  modelctl load models/once.safetensors --wait-for-room --keep-alive 10m",
          .arguments = Join({SpecArguments(*request->mutable_spec()),
                             {Flag(
                                  "--pin", [request] { request->set_pin(true); },
                                  "and keep it from being evicted"),
                              Flag(
                                  "--no-wait", [request] { request->set_no_wait(true); },
                                  "return as soon as it is on its way")},
                             StayArguments([request] { request->set_wait_for_room(true); },
                                           [request] { return request->mutable_keep_alive(); })}),
          .run = [request](Environment& environment) { return Load(*request, environment); }};
}

}  // namespace modeld::modelctl
