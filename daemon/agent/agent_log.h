// An agent's log: on the stderr that it has from modeld, in the same form.

#pragma once

#include <string>

namespace modeld::agent {

// spdlog's default logger writes to stderr from now on, each line with `program`. `level` and
// `format` as --log-level and --log-format take them. Once.
void StartLogging(const std::string& program, const std::string& level, const std::string& format);

}  // namespace modeld::agent
