// modelctl load: makes a checkpoint resident.

#include <google/protobuf/util/time_util.h>

#include <memory>

#include "modelctl/call.h"
#include "modelctl/device_choice.h"
#include "modelctl/load_progress.h"
#include "modelctl/spec_options.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

// modeld ends a wait in its own words; gRPC's deadline is for a daemon that hangs.
constexpr std::chrono::milliseconds kGrace{500};

absl::Status Load(const v1::PreloadRequest& options, Environment& environment) {
  const auto channel = environment.Connect(SocketOf<v1::AdminService>());
  if (!channel.ok()) return channel.status();
  v1::PreloadRequest request = options;
  auto device = ChooseDevice(environment, request.spec().device());
  if (!device.ok()) return device.status();
  request.mutable_spec()->set_device(*std::move(device));
  grpc::ClientContext context;
  if (const auto timeout = environment.options().timeout) {
    *request.mutable_wait_timeout() =
        google::protobuf::util::TimeUtil::NanosecondsToDuration(timeout->count());
    context.set_deadline(
        std::chrono::system_clock::now() +
        std::chrono::duration_cast<std::chrono::system_clock::duration>(*timeout + kGrace));
  }

  v1::Residency residency;
  absl::Status loaded;
  {
    const Interrupt::Guard guard(environment.interrupt(), context);
    const auto stub = v1::AdminService::NewStub(*channel);
    LoadProgress progress(request.spec().reference());
    const auto reader = stub->Preload(&context, request);
    loaded = ReadAll<v1::PreloadUpdate>(environment, context, *reader,
                                        [&](const v1::PreloadUpdate& update) {
                                          if (update.has_progress())
                                            progress.Show(update.progress());
                                          if (update.has_residency())
                                            residency = update.residency();
                                          return absl::OkStatus();
                                        });
  }
  if (loaded.ok()) return environment.Write(environment.MakePrinter()->Loaded(residency));
  if (!environment.interrupt().raised()) return loaded;
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
  verb->footer(Example("  modelctl load models/backbone.safetensors --pin"));
  verb->callback([request, &chosen] {
    chosen = [request](Environment& environment) { return Load(*request, environment); };
  });
}

}  // namespace modeld::modelctl
