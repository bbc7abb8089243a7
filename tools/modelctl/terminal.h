// What stands behind a stream, and writing to it.

#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

namespace modeld::modelctl {

struct Terminal {
  bool is_terminal = false;
  size_t width = 0;     // columns; 0 where there is no terminal
  bool colour = false;  // a terminal that can, and NO_COLOR (https://no-color.org) is not set
};

Terminal LookAt(int fd);

// All of it. An error says why not, and names what `name` says the descriptor is.
absl::Status WriteAll(int fd, std::string_view bytes, std::string_view name);

}  // namespace modeld::modelctl
