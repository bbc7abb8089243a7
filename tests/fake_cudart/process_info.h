// What /proc says about processes and descriptors.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace fake_cudart {

// Everything that a file of /proc holds; empty when it cannot be read.
std::string ReadProcFile(const std::string& path);

// The comm of this process: its program's name, cut to 15 characters.
std::string ProgramName();

// When a process was started, in clock ticks since boot: with its pid this names it for good.
std::optional<uint64_t> StartTime(pid_t pid);

}  // namespace fake_cudart
