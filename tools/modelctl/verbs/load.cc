// modelctl load: makes a checkpoint resident.

#include <memory>

#include "modelctl/device_choice.h"
#include "modelctl/load_call.h"
#include "modelctl/spec_options.h"
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

void AddLoad(CLI::App& app, Verb& chosen) {
  const auto request = std::make_shared<v1::PreloadRequest>();
  CLI::App* verb =
      app.add_subcommand("load", "Make a checkpoint resident and wait until it is READY");
  AddSpecOptions(*verb, *request->mutable_spec());
  verb->add_flag_callback(
      "--pin", [request] { request->set_pin(true); }, "and keep it from being evicted");
  verb->add_flag_callback(
      "--no-wait", [request] { request->set_no_wait(true); }, "return as soon as it is on its way");
  AddStayOptions(
      *verb, [request] { request->set_wait_for_room(true); },
      [request] { return request->mutable_keep_alive(); });
  verb->footer(
      Example("  modelctl load models/backbone.safetensors --pin\n"
              "  modelctl load models/once.safetensors --wait-for-room --keep-alive 10m"));
  verb->callback([request, &chosen] {
    chosen = [request](Environment& environment) { return Load(*request, environment); };
  });
}

}  // namespace modeld::modelctl
