#include "modelctl/spec_options.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace modeld::modelctl {
namespace {

using Take = std::function<void(const std::string&)>;

std::string Upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

}  // namespace

void AddSpecOptions(CLI::App& verb, v1::ModelSpec& spec) {
  const auto option = [&](const char* name, const Take& take, const char* help, const char* type) {
    return verb.add_option_function<std::string>(name, take, help)->type_name(type);
  };
  option(
      "REF", [&](const auto& value) { spec.set_reference(value); }, "what to load", "")
      ->required();
  option(
      "--device", [&](const auto& value) { spec.set_device(value); },
      "where: host, cuda:N as `modelctl devices` counts, or a GPU's UUID [host]", "DEVICE");
  verb.add_flag_callback(
      "--keep-host", [&] { spec.set_keep_host(true); },
      "for a GPU: stay resident on the host too, so that the next load reads no disk");
  CLI::Option* instance = option(
      "--instance", [&](const auto& value) { spec.set_instance(value); },
      "a separate copy under this name, on purpose", "NAME");
  verb.add_flag_callback(
          "--private", [&] { spec.set_private_copy(true); }, "a copy that is never shared")
      ->excludes(instance);
  option(
      "--cast", [&](const auto& value) { spec.mutable_load_config()->set_cast(Upper(value)); },
      "convert F64, F32, F16 and BF16 tensors to F32, F16 or BF16 while they are loaded", "DTYPE");
  verb.add_option_function<std::vector<std::string>>(
          "--include",
          [&](const auto& globs) {
            for (const auto& glob : globs) spec.mutable_load_config()->add_include(glob);
          },
          "load only tensors whose names fit one of these globs")
      ->type_name("GLOB")
      ->expected(1)
      ->take_all();
  verb.add_option_function<std::vector<std::string>>(
          "--exclude",
          [&](const auto& globs) {
            for (const auto& glob : globs) spec.mutable_load_config()->add_exclude(glob);
          },
          "leave out tensors whose names fit one of these globs")
      ->type_name("GLOB")
      ->expected(1)
      ->take_all();
  option(
      "--key-prefix", [&](const auto& value) { spec.mutable_load_config()->set_key_prefix(value); },
      "load only tensors whose names begin so, and take that off", "PREFIX");
  option(
      "--expect", [&](const auto& value) { spec.set_expected_digest(value); },
      "the weights digest that it must have; anything else fails", "SHA256");
}

}  // namespace modeld::modelctl
