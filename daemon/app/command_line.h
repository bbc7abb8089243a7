// modeld's flags.

#pragma once

#include <string>
#include <variant>

#include "app/config.h"

namespace modeld::app {

struct CommandLine {
  enum class Action { kServe, kCheckConfig, kDumpConfig };
  Action action = Action::kServe;
  std::string config_file;  // empty: not named
  RawValues settings;       // those that were given
};

// What to print and how to exit, for --help, --version and mistakes.
struct Exit {
  int code = 0;
  std::string out;  // for stdout
  std::string err;  // for stderr
};

std::variant<CommandLine, Exit> ParseCommandLine(int argc, const char* const* argv);

}  // namespace modeld::app
