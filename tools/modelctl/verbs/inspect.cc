// modelctl inspect: what a checkpoint holds, without loading it.

#include <memory>

#include "modelctl/call.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Inspect(const std::string& reference, bool with_tensors, Environment& environment) {
  const auto channel = environment.Connect(SocketOf<v1::ResidencyService>());
  if (!channel.ok()) return channel.status();
  v1::InspectCheckpointRequest request;
  request.set_reference(reference);
  grpc::ClientContext context;
  SetAnswerDeadline(environment, context);
  const Interrupt::Guard guard(environment.interrupt(), context);
  const auto stub = v1::ResidencyService::NewStub(*channel);
  const auto reader = stub->InspectCheckpoint(&context, request);
  v1::InspectCheckpointResponse whole;
  const absl::Status read = ReadAll<v1::InspectCheckpointResponse>(
      environment, context, *reader, [&](const v1::InspectCheckpointResponse& part) {
        whole.MergeFrom(part);
        return absl::OkStatus();
      });
  if (!read.ok()) return read;
  return environment.Write(environment.MakePrinter()->Checkpoint(whole, with_tensors));
}

}  // namespace

Verb InspectVerb() {
  const auto reference = std::make_shared<std::string>();
  const auto with_tensors = std::make_shared<bool>(false);
  return {.name = "inspect",
          .summary = "Show what a checkpoint's header says, without loading it",
          .example = "  modelctl inspect models/backbone.safetensors --tensors",
          .arguments = {Operand("REF", *reference, "which checkpoint"),
                        Flag("--tensors", *with_tensors, "every tensor too, in file order")},
          .run = [reference, with_tensors](Environment& environment) {
            return Inspect(*reference, *with_tensors, environment);
          }};
}

}  // namespace modeld::modelctl
