// Threads of the library that end before the process's static objects do.

#pragma once

#include <functional>

#include "deadline.h"

namespace modeld::client::background {

// Runs `work` on a new thread with all signals blocked. False when there can be none: the process
// is exiting, or the system has no thread to give. At exit, `stop` (if there is one) is called and
// `work` is waited for, at most a second: it must end soon after, or after Pause has returned
// false.
bool Start(std::function<void()> work, std::function<void()> stop = {});

// Sleeps. False when the process is exiting.
bool Pause(Duration duration);

}  // namespace modeld::client::background
