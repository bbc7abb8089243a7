// Verbs to the parser of the command line, for those that do not include CLI11: its header alone
// takes as long to compile as a verb.

#pragma once

#include "modelctl/verb.h"

namespace CLI {
class App;
}

namespace modeld::modelctl {

// Adds `verb` as a subcommand. Parsing then gives its arguments their values, in their order, and
// sets `chosen` to it, or to the one of its own verbs, that was typed; an argument that refuses its
// value makes `app.parse` throw CLI::ValidationError. `app` keeps references: `verb` and `chosen`
// must outlive it.
void AddVerb(CLI::App& app, const Verb& verb, const Verb*& chosen);

}  // namespace modeld::modelctl
