#include "modelctl/verb_parser.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "wire/text.h"

namespace modeld::modelctl {
namespace {

using Values = Argument::Values;

std::string LongName(const Argument& argument) {
  const std::string names = argument.name;
  const size_t comma = names.rfind(',');
  return comma == std::string::npos ? names : names.substr(comma + 1);
}

void Take(const Argument& argument, const std::string& value) {
  // CLI11 writes an option's missing value so.
  const bool missing = argument.values == Values::kOptional && value == "{}";
  const absl::Status taken = argument.take(missing ? "" : value);
  if (!taken.ok()) {
    throw CLI::ValidationError(LongName(argument), std::string(taken.message()));
  }
}

CLI::Option* AddArgument(CLI::App& app, const Argument& argument) {
  const auto one = [&argument](const std::string& value) { Take(argument, value); };
  const auto many = [&argument](const std::vector<std::string>& values) {
    for (const std::string& value : values) Take(argument, value);
  };
  switch (argument.values) {
    case Values::kNone:
      return app.add_flag_callback(
          argument.name, [&argument] { Take(argument, ""); }, argument.help);
    case Values::kOne:
      return app.add_option_function<std::string>(argument.name, one, argument.help);
    case Values::kOptional:
      return app.add_option_function<std::string>(argument.name, one, argument.help)
          ->expected(0, 1);
    case Values::kRepeated:
      return app.add_option_function<std::vector<std::string>>(argument.name, many, argument.help)
          ->expected(1)
          ->take_all();
    case Values::kAll:
      return app.add_option_function<std::vector<std::string>>(argument.name, many, argument.help);
  }
  return nullptr;
}

}  // namespace

void AddVerb(CLI::App& app, const Verb& verb, const Verb*& chosen) {
  CLI::App* const parser = app.add_subcommand(verb.name, verb.summary);
  for (const char* alias : verb.aliases) parser->alias(alias);
  for (const Argument& argument : verb.arguments) {
    CLI::Option* const option = AddArgument(*parser, argument);
    if (argument.values != Values::kNone) option->type_name(argument.type);
    option->required(argument.required);
    if (argument.excludes != nullptr) option->excludes(parser->get_option(argument.excludes));
  }
  for (const Verb& inner : verb.verbs) AddVerb(*parser, inner, chosen);
  if (!verb.verbs.empty()) parser->require_subcommand(0, 1);
  parser->footer(wire::StrCat(
      "Every verb has -H ENDPOINT, -o FORMAT and --timeout DUR: modelctl --help\n\nExample:\n",
      verb.example));
  // Comes after those of its own verbs.
  parser->callback([parser, &verb, &chosen] {
    if (parser->get_subcommands().empty()) chosen = &verb;
  });
}

}  // namespace modeld::modelctl
