// What every agent's program does around its Agent.

#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "agent/agent.h"

namespace modeld::agent {

struct AgentArguments {
  std::string socket;
  double grace_seconds = 60;
  int threads = 0;
  std::string log_level = "info";
  std::string log_format = "text";  // or `json`
};

// --socket, --grace, --threads, --log-level and --log-format.
void AddAgentArguments(CLI::App& app, AgentArguments& arguments);

// Serves modeld until SIGTERM or SIGINT, until nobody has been connected for the grace period, or
// until the device is lost; then frees its share of everything. `make` opens the device, after the
// socket is bound: an agent that was started twice never gets there. The program's exit code; what
// keeps it from serving goes to stderr.
int RunAgent(const std::string& program, const AgentArguments& arguments,
             const std::function<absl::StatusOr<Agent::Options>()>& make);

}  // namespace modeld::agent
