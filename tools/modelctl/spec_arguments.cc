#include "modelctl/spec_arguments.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "modelctl/duration.h"

namespace modeld::modelctl {
namespace {

std::string Upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

}  // namespace

Argument SelectorOrReference(std::string& value) {
  return Operand("SELECTOR|REF", value, "something resident, or what to load for it");
}

std::vector<Argument> VersionArguments(v1::ModelSpec& spec) {
  return {
      Operand("REF", *spec.mutable_reference(), "what to load"),
      Option(
          "--device", "DEVICE", [&spec](const auto& value) { spec.set_device(value); },
          "where: host, cuda:N as `modelctl devices` counts, or a GPU's UUID [host]"),
      Flag(
          "--keep-host", [&spec] { spec.set_keep_host(true); },
          "for a GPU: stay resident on the host too, so that the next load reads no disk"),
      Option(
          "--cast", "DTYPE",
          [&spec](const auto& value) { spec.mutable_load_config()->set_cast(Upper(value)); },
          "convert F64, F32, F16 and BF16 tensors to F32, F16 or BF16 while they are loaded"),
      RepeatedOption(
          "--include", "GLOB",
          [&spec](const auto& glob) { spec.mutable_load_config()->add_include(glob); },
          "load only tensors whose names fit one of these globs"),
      RepeatedOption(
          "--exclude", "GLOB",
          [&spec](const auto& glob) { spec.mutable_load_config()->add_exclude(glob); },
          "leave out tensors whose names fit one of these globs"),
      Option(
          "--key-prefix", "PREFIX",
          [&spec](const auto& value) { spec.mutable_load_config()->set_key_prefix(value); },
          "load only tensors whose names begin so, and take that off"),
      Option(
          "--expect", "SHA256", [&spec](const auto& value) { spec.set_expected_digest(value); },
          "the weights digest that it must have; anything else fails"),
  };
}

std::vector<Argument> SpecArguments(v1::ModelSpec& spec) {
  const Argument instance = Option(
      "--instance", "NAME", [&spec](const auto& name) { spec.set_instance(name); },
      "a separate copy under this name, on purpose");
  Argument own = Flag(
      "--private", [&spec] { spec.set_private_copy(true); }, "a copy that is never shared");
  own.excludes = instance.name;
  return Join({VersionArguments(spec), {instance, own}});
}

std::vector<Argument> StayArguments(std::function<void()> wait_for_room,
                                    std::function<google::protobuf::Duration*()> keep_alive) {
  Argument stays = {
      .name = "--keep-alive",
      .help = "how long it stays after its last release: 10m, 0 (goes with it) or forever",
      .type = "DUR",
      .take = [keep_alive = std::move(keep_alive)](const std::string& text) {
        const auto parsed = ParseKeepAlive(text);
        if (!parsed.ok()) return parsed.status();
        *keep_alive() = google::protobuf::util::TimeUtil::NanosecondsToDuration(parsed->count());
        return absl::OkStatus();
      }};
  return {Flag("--wait-for-room", std::move(wait_for_room),
               "where others hold what fills the device, wait for them, in turn"),
          std::move(stays)};
}

}  // namespace modeld::modelctl
