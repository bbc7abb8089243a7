// Which GPUs there are, without CUDA in this process.

#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "modeld/v1/agent.pb.h"

namespace modeld::supervisor {

// Runs `modeld-agent-cuda --list` and waits for it; a driver that comes up takes seconds.
// `program_directory` as in AgentSupervisor. NOT_FOUND: the program is not installed; UNAVAILABLE
// says how it failed. A list without GPUs says why in its
// notes.
absl::StatusOr<v1::GpuList> ListGpus(const std::string& program_directory = {},
                                     base::Duration timeout = std::chrono::seconds(30));

}  // namespace modeld::supervisor
