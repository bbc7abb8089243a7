// modelctl alias: names for versions of models.

#include <memory>

#include "modelctl/device_choice.h"
#include "modelctl/load_call.h"
#include "modelctl/spec_arguments.h"
#include "modelctl/verbs.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

absl::Status Set(const v1::SetAliasRequest& options, Environment& environment) {
  v1::SetAliasRequest request = options;
  v1::ModelSpec& spec = *request.mutable_alias()->mutable_spec();
  auto device = ChooseDevice(environment, spec.device());
  if (!device.ok()) return device.status();
  spec.set_device(*std::move(device));
  const auto set = CallLoad<v1::SetAliasUpdate>(environment, &v1::AdminService::Stub::SetAlias,
                                                request, spec.reference());
  if (set.ok()) return environment.Write(environment.MakePrinter()->AliasSet(set->result()));
  if (!environment.interrupt().raised()) return set.status();
  // modeld may have done it in this moment.
  return absl::CancelledError(
      wire::StrCat("interrupted: see what ", request.alias().name(), " names: modelctl alias ls"));
}

absl::Status List(Environment& environment) {
  const auto reply =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::ListAliases, {});
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Aliases(*reply));
}

absl::Status Remove(const std::string& name, Environment& environment) {
  v1::RemoveAliasRequest request;
  request.set_name(name);
  const auto reply =
      Call<v1::AdminService>(environment, &v1::AdminService::Stub::RemoveAlias, request);
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->AliasRemoved(*reply));
}

Verb SetVerb() {
  const auto request = std::make_shared<v1::SetAliasRequest>();
  v1::Alias& alias = *request->mutable_alias();
  return {.name = "set",
          .summary =
              "Make a version READY, then give it the name; the one before goes with its holders",
          .example = "  modelctl alias set encoder models/encoder-v2.safetensors",
          .arguments = Join({{Operand("NAME", *alias.mutable_name(), "which alias")},
                             VersionArguments(*alias.mutable_spec()),
                             StayArguments([request] { request->set_wait_for_room(true); },
                                           [&alias] { return alias.mutable_keep_alive(); })}),
          .run = [request](Environment& environment) { return Set(*request, environment); }};
}

Verb RemoveVerb() {
  const auto name = std::make_shared<std::string>();
  return {.name = "rm",
          .summary = "Remove an alias; what it named stays, and so do the holders",
          .example = "  modelctl alias rm encoder",
          .arguments = {Operand("NAME", *name, "which alias")},
          .run = [name](Environment& environment) { return Remove(*name, environment); }};
}

Verb ListVerb() {
  return {.name = "ls",
          .summary = "List the aliases, and what they name",
          .example = "  modelctl alias ls",
          .run = List};
}

}  // namespace

Verb AliasVerb() {
  return {.name = "alias",
          .summary = "List, set and remove names for versions",
          .example =
              "  modelctl alias set encoder models/encoder-v2.safetensors\n"
              "  modelctl alias ls\n"
              "  modelctl alias rm encoder",
          .verbs = {ListVerb(), SetVerb(), RemoveVerb()},
          .run = List};
}

}  // namespace modeld::modelctl
