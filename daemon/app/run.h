// What the program does, from its arguments to its exit status.

#pragma once

namespace modeld::app {

// 0: stopped by a signal, or did what it was asked; 1: failed; 2: wrong flags or configuration.
int Run(int argc, const char* const* argv);

}  // namespace modeld::app
