#include "modelctl/spec_options.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "modelctl/duration.h"

namespace modeld::modelctl {
namespace {

using Take = std::function<void(const std::string&)>;

std::string Upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

}  // namespace

void AddVersionOptions(CLI::App& verb, v1::ModelSpec& spec) {
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

void AddSpecOptions(CLI::App& verb, v1::ModelSpec& spec) {
  AddVersionOptions(verb, spec);
  CLI::Option* instance = verb.add_option_function<std::string>(
                                  "--instance", [&](const auto& name) { spec.set_instance(name); },
                                  "a separate copy under this name, on purpose")
                              ->type_name("NAME");
  verb.add_flag_callback(
          "--private", [&] { spec.set_private_copy(true); }, "a copy that is never shared")
      ->excludes(instance);
}

void AddStayOptions(CLI::App& verb, const std::function<void()>& wait_for_room,
                    const std::function<google::protobuf::Duration*()>& keep_alive) {
  verb.add_flag_callback("--wait-for-room", wait_for_room,
                         "where others hold what fills the device, wait for them, in turn");
  verb.add_option_function<std::string>(
          "--keep-alive",
          [keep_alive](const std::string& text) {
            const auto parsed = ParseKeepAlive(text);
            if (!parsed.ok()) {
              throw CLI::ValidationError("--keep-alive", std::string(parsed.status().message()));
            }
            *keep_alive() =
                google::protobuf::util::TimeUtil::NanosecondsToDuration(parsed->count());
          },
          "how long it stays after its last release: 10m, 0 (goes with it) or forever")
      ->type_name("DUR");
}

}  // namespace modeld::modelctl
