// Verbs to the parser of the command line. The one file that parses them is CLI11's only reader
// here: its header alone takes longer to compile than a verb.

#pragma once

#include "modelctl/verb.h"

namespace CLI {
class App;
}

namespace modeld::modelctl {

// Adds `verb`, which must outlive `app`, and sets `chosen` to it, or to the one of its own verbs,
// that was given.
void AddVerb(CLI::App& app, const Verb& verb, const Verb*& chosen);

}  // namespace modeld::modelctl
