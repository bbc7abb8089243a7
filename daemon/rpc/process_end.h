// Has a process ended?

#pragma once

#include <sys/types.h>

namespace modeld::rpc {

// True when there is no such process, or when it is on its way out: the kernel closes a process'
// sockets before it can be waited for, so that whoever sees them close asks too early for anything
// else. A process of another PID namespace (pid 0) has not ended as far as can be told.
bool IsEnding(pid_t pid);

}  // namespace modeld::rpc
