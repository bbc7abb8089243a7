// The command line, from argv to exit code.

#pragma once

namespace modeld::modelctl {

// All of modelctl. Data goes to stdout; words, errors among them, to stderr.
int Run(int argc, char** argv);

}  // namespace modeld::modelctl
