// What the services stand on.

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "modeld/v1/types.pb.h"
#include "residency/manager.h"
#include "rpc/inspect.h"
#include "rpc/session_registry.h"

namespace modeld::rpc {

// What GetServerInfo says that does not change.
struct ServerFacts {
  std::string version;
  std::string runtime_dir;
  std::vector<std::string> roots;
  base::WallTime start_time;
};

// All outlives the services and what they post to the executor.
struct ServiceDeps {
  residency::Manager& manager;
  SessionRegistry& sessions;
  base::Executor& executor;  // for what blocks
  const base::Clock& clock;
  InspectFunction inspect;
  // What the last parser reported; nullopt before the first. Thread-safe, does not block.
  std::function<std::optional<v1::ParserSandbox>()> sandbox;
  // What is missing of GPUs: words for an operator.
  std::vector<std::string> gpu_notes;
  // What is not as the configuration wants it: words for an operator. Thread-safe, does not block;
  // may be empty.
  std::function<std::vector<std::string>()> degraded;
  ServerFacts facts;
};

}  // namespace modeld::rpc
