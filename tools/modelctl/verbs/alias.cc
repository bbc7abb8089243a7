// modelctl alias: names for versions of models.

#include <memory>

#include "modelctl/device_choice.h"
#include "modelctl/load_call.h"
#include "modelctl/spec_options.h"
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

void AddSet(CLI::App& alias, Verb& chosen) {
  const auto request = std::make_shared<v1::SetAliasRequest>();
  CLI::App* verb = alias.add_subcommand(
      "set", "Make a version READY, then give it the name; the one before goes with its holders");
  verb->add_option_function<std::string>(
          "NAME", [request](const std::string& name) { request->mutable_alias()->set_name(name); },
          "which alias")
      ->required();
  AddVersionOptions(*verb, *request->mutable_alias()->mutable_spec());
  AddStayOptions(
      *verb, [request] { request->set_wait_for_room(true); },
      [request] { return request->mutable_alias()->mutable_keep_alive(); });
  verb->footer(Example("  modelctl alias set encoder models/encoder-v2.safetensors"));
  verb->callback([request, &chosen] {
    chosen = [request](Environment& environment) { return Set(*request, environment); };
  });
}

void AddRemove(CLI::App& alias, Verb& chosen) {
  const auto name = std::make_shared<std::string>();
  CLI::App* verb =
      alias.add_subcommand("rm", "Remove an alias; what it named stays, and so do the holders");
  verb->add_option("NAME", *name, "which alias")->required();
  verb->footer(Example("  modelctl alias rm encoder"));
  verb->callback([name, &chosen] {
    chosen = [name](Environment& environment) { return Remove(*name, environment); };
  });
}

}  // namespace

void AddAlias(CLI::App& app, Verb& chosen) {
  CLI::App* verb = app.add_subcommand("alias", "List, set and remove names for versions");
  verb->require_subcommand(0, 1);
  CLI::App* list = verb->add_subcommand("ls", "List the aliases, and what they name");
  list->footer(Example("  modelctl alias ls"));
  list->callback([&chosen] { chosen = List; });
  AddSet(*verb, chosen);
  AddRemove(*verb, chosen);
  verb->footer(
      Example("  modelctl alias set encoder models/encoder-v2.safetensors\n"
              "  modelctl alias ls\n"
              "  modelctl alias rm encoder"));
  // Comes after those of its own verbs.
  verb->callback([verb, &chosen] {
    if (verb->get_subcommands().empty()) chosen = List;
  });
}

}  // namespace modeld::modelctl
