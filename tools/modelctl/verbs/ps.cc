// modelctl ps: the residencies.

#include <memory>

#include "modelctl/call.h"
#include "modelctl/duration.h"
#include "modelctl/error.h"
#include "modelctl/terminal.h"
#include "modelctl/tree.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

constexpr char kDefaultInterval[] = "2s";

struct PsOptions {
  bool all = false;
  bool tree = false;
  bool watch = false;
  std::string interval = kDefaultInterval;
};

absl::StatusOr<std::string> Look(const PsOptions& options, Environment& environment) {
  v1::ListResidenciesRequest request;
  request.set_include_ended(options.all);
  const auto residencies = Call<v1::ResidencyService>(
      environment, &v1::ResidencyService::Stub::ListResidencies, request);
  if (!residencies.ok()) return residencies.status();
  if (!options.tree) return environment.MakePrinter()->Residencies(*residencies);
  const auto leases =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::ListLeases, {});
  if (!leases.ok()) return leases.status();
  return environment.MakePrinter()->Tree(MakeScopeTree(*residencies, *leases));
}

absl::Status Watch(const PsOptions& options, std::chrono::nanoseconds interval,
                   Environment& environment) {
  const bool redraw =
      LookAt(STDOUT_FILENO).is_terminal && environment.options().format != Format::kJson;
  bool first = true;
  do {
    const auto text = Look(options, environment);
    if (!text.ok()) return text.status();
    // Home, the text, and away with what the picture before had below it.
    std::string out;
    if (redraw) {
      out = (first ? "\033[H\033[2J" : "\033[H");
      for (const char c : *text) out += c == '\n' ? "\033[K\n" : std::string(1, c);
      out += "\033[J";
    } else {
      const bool blank = !first && environment.options().format != Format::kJson;
      out = (blank ? "\n" : "") + *text;
    }
    if (absl::Status written = environment.Write(out); !written.ok()) return written;
    first = false;
  } while (environment.interrupt().Sleep(interval));
  return environment.interrupt().Check();
}

absl::Status Ps(const PsOptions& options, Environment& environment) {
  if (options.watch) {
    const auto interval = ParseDuration(options.interval);
    if (!interval.ok()) return WithHint(interval.status(), "modelctl ps --watch 2s");
    return Watch(options, *interval, environment);
  }
  const auto text = Look(options, environment);
  if (!text.ok()) return text.status();
  return environment.Write(*text);
}

}  // namespace

Verb PsVerb() {
  const auto options = std::make_shared<PsOptions>();
  Argument watch = Option(
      "-w,--watch", "INTERVAL",
      [options](const std::string& interval) {
        options->watch = true;
        if (!interval.empty()) options->interval = interval;
      },
      "again and again, every INTERVAL [2s], until Ctrl-C");
  watch.values = Argument::Values::kOptional;
  return {.name = "ps",
          .aliases = {"ls", "list"},
          .summary = "List what is resident",
          .example = "  modelctl ps --tree\n  modelctl ps --watch 500ms",
          .arguments = {Flag("-a,--all", options->all,
                             "those that failed, were evicted or lost in the last minutes too"),
                        Flag("-t,--tree", options->tree,
                             "by scope: which world, stage, pipeline, graph and node uses what"),
                        watch},
          .run = [options](Environment& environment) { return Ps(*options, environment); }};
}

}  // namespace modeld::modelctl
