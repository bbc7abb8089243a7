// Processes as /proc shows them: to find what a test left behind, and to end exactly that.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace modeld::test {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string command_line;  // arguments joined by blanks
};

// The processes, zombies not among them, whose command line holds `text`: give a temporary
// directory of your own.
std::vector<ProcessInfo> ProcessesWith(const std::string& text);

// Of the process itself; 0 when it is gone.
size_t OpenFdCount(pid_t pid);

// What its descriptors are, one a line, for messages.
std::string OpenFds(pid_t pid);

// Waits until `condition` is true; false when it is not within `limit`.
bool Eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds limit = std::chrono::seconds(20));

}  // namespace modeld::test
