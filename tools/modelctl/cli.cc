#include "modelctl/cli.h"

#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "modelctl/duration.h"
#include "modelctl/environment.h"
#include "modelctl/error.h"
#include "modelctl/interrupt.h"
#include "modelctl/terminal.h"
#include "modelctl/verb_parser.h"
#include "modelctl/verbs.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

constexpr char kDescription[] =
    "modelctl: what modeld keeps resident, who holds it, and what shall become of it";

constexpr char kFooter[] =
    R"(SELECTOR is an id of a residency or a unique prefix of one, a digest (sha256:...) or a unique prefix of
one (four hex digits at least), an alias, or a reference. REF is an alias, a path, a file:// URI, or a path
below one of modeld's roots.

Exit codes: 0 done, 1 failed, 2 usage, 3 modeld not reached, 4 not found, 5 refused (leased, pinned, not
permitted), 6 no capacity, 7 timed out, 130 interrupted.

Example:
  modelctl load models/backbone.safetensors && modelctl ps)";

// What is parsed; the strings are turned into GlobalOptions afterwards.
struct CommandLine {
  std::string endpoint;
  std::string format;
  std::string timeout;
  const Verb* verb = nullptr;
};

// In the order of the help.
std::vector<Verb> Verbs() {
  return {PsVerb(),     GetVerb(),    LoadVerb(),   EvictVerb(),   PinVerb(),    UnpinVerb(),
          AliasVerb(),  WhyVerb(),    LeasesVerb(), DevicesVerb(), EventsVerb(), InspectVerb(),
          VerifyVerb(), DigestVerb(), ExportVerb(), HealthVerb(),  DoctorVerb(), VersionVerb()};
}

void Declare(CLI::App& app, const std::vector<Verb>& verbs, CommandLine& line) {
  app.add_option("-H,--endpoint", line.endpoint,
                 "modeld's socket, unix:///PATH/modeld.sock [MODELD_ENDPOINT, else "
                 "/run/modeld/modeld.sock or "
                 "$XDG_RUNTIME_DIR/modeld/modeld.sock]")
      ->type_name("ENDPOINT");
  app.add_option("-o,--output", line.format, "table, wide, json or name [table]")
      ->type_name("FORMAT");
  app.add_option("--timeout", line.timeout, "give up after this time: 500ms, 10s, 2m")
      ->type_name("DUR");
  app.set_version_flag("--version", "modelctl " MODELD_VERSION);
  app.require_subcommand(0, 1);
  // The options above are understood after the verb too.
  app.fallthrough();
  app.footer(kFooter);
  for (const Verb& verb : verbs) AddVerb(app, verb, line.verb);
}

int Fail(const absl::Status& status) {
  WriteAll(STDERR_FILENO, ErrorText(status), "stderr").IgnoreError();
  return ToExitCode(status);
}

absl::Status UsageError(const CLI::App& app, const std::string& message) {
  std::string verb;
  for (auto verbs = app.get_subcommands(); !verbs.empty();
       verbs = verbs.front()->get_subcommands()) {
    verb += verbs.front()->get_name() + " ";
  }
  if (!verb.empty()) {
    return ErrorWithHint(absl::StatusCode::kInvalidArgument, message,
                         wire::StrCat("modelctl ", verb, "--help"));
  }
  const auto words = app.remaining();
  const bool strange = !words.empty() && !words.front().starts_with('-');
  return ErrorWithHint(
      absl::StatusCode::kInvalidArgument,
      strange ? wire::StrCat("modelctl has no verb \"", words.front(), "\"") : message,
      "modelctl --help");
}

absl::StatusOr<GlobalOptions> MakeOptions(const CommandLine& line) {
  GlobalOptions options{.endpoint = line.endpoint, .format = Format::kTable, .timeout = {}};
  if (!line.format.empty()) {
    const std::map<std::string, Format> formats = {{"table", Format::kTable},
                                                   {"wide", Format::kWide},
                                                   {"json", Format::kJson},
                                                   {"name", Format::kName}};
    const auto format = formats.find(line.format);
    if (format == formats.end()) {
      return ErrorWithHint(absl::StatusCode::kInvalidArgument,
                           wire::StrCat("-o has no format \"", line.format, "\""),
                           "-o table, wide, json or name");
    }
    options.format = format->second;
  }
  if (!line.timeout.empty()) {
    const auto timeout = ParseDuration(line.timeout);
    if (!timeout.ok()) return WithHint(timeout.status(), "modelctl --timeout 10s VERB");
    options.timeout = *timeout;
  }
  return options;
}

}  // namespace

int Run(int argc, char** argv) {
  // A file over RLIMIT_FSIZE is an error to tell, not a signal to die of.
  signal(SIGXFSZ, SIG_IGN);
  CLI::App app(kDescription, "modelctl");
  const std::vector<Verb> verbs = Verbs();
  CommandLine line;
  Declare(app, verbs, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    const absl::Status written = WriteAll(STDOUT_FILENO, app.help(), "stdout");
    return written.ok() ? kDone : Fail(written);
  } catch (const CLI::CallForVersion& version) {
    const absl::Status written =
        WriteAll(STDOUT_FILENO, wire::StrCat(version.what(), "\n"), "stdout");
    return written.ok() ? kDone : Fail(written);
  } catch (const CLI::ParseError& error) {
    return Fail(UsageError(app, error.what()));
  }
  if (line.verb == nullptr) return Fail(UsageError(app, "no verb was given"));

  const auto options = MakeOptions(line);
  if (!options.ok()) return Fail(options.status());
  Interrupt interrupt;
  Environment environment(*options, interrupt);
  const absl::Status done = line.verb->run(environment);
  if (interrupt.raised() && done.code() == absl::StatusCode::kCancelled) {
    environment.Say(wire::StrCat("modelctl: ", wire::ToStd(done.message()), "\n"));
    return kInterrupted;
  }
  return done.ok() ? kDone : Fail(done);
}

}  // namespace modeld::modelctl
