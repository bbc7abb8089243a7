// The verbs, one a file in verbs/.

#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "modelctl/environment.h"

namespace modeld::modelctl {

// What a verb does. Its failure is told and turned into the exit code by the caller.
using Verb = std::function<absl::Status(Environment&)>;

// Each adds a verb with its options to the parser, and puts what it does into `chosen` when it is
// the one that was given.
void AddPs(CLI::App& app, Verb& chosen);
void AddGet(CLI::App& app, Verb& chosen);
void AddLoad(CLI::App& app, Verb& chosen);
void AddEvict(CLI::App& app, Verb& chosen);
void AddAlias(CLI::App& app, Verb& chosen);
void AddPin(CLI::App& app, Verb& chosen);
void AddUnpin(CLI::App& app, Verb& chosen);
void AddWhy(CLI::App& app, Verb& chosen);
void AddLeases(CLI::App& app, Verb& chosen);
void AddDevices(CLI::App& app, Verb& chosen);
void AddEvents(CLI::App& app, Verb& chosen);
void AddInspect(CLI::App& app, Verb& chosen);
void AddVerify(CLI::App& app, Verb& chosen);
void AddDigest(CLI::App& app, Verb& chosen);
void AddExport(CLI::App& app, Verb& chosen);
void AddDoctor(CLI::App& app, Verb& chosen);
void AddHealth(CLI::App& app, Verb& chosen);
void AddVersion(CLI::App& app, Verb& chosen);

// The footer of a verb's help.
inline std::string Example(const std::string& lines) {
  return "Every verb has -H ENDPOINT, -o FORMAT and --timeout DUR: modelctl --help\n\nExample:\n" +
         lines;
}

}  // namespace modeld::modelctl
