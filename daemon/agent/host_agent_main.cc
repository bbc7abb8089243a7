// modeld-agent-host: keeps the memory of the host's residencies, so that it outlives any one
// modeld.
//
// It ends when nobody has been connected for the grace period, and on SIGTERM or SIGINT at once;
// either way it frees its share of everything. Mappings and descriptors that others hold stay
// valid.

#include <CLI/CLI.hpp>
#include <memory>

#include "agent/agent_program.h"
#include "memory/host_segment.h"
#include "memory/page_choice.h"

namespace modeld::agent {
namespace {

absl::StatusOr<Agent::Options> OpenHost() {
  const memory::PageChoice pages = memory::ProbePages();
  Agent::Options options;
  options.allocator = std::make_unique<memory::HostAllocator>(pages);
  options.page_size_bytes = pages.page_size_bytes;
  options.page_size_note = pages.note;
  return options;
}

int Main(int argc, char** argv) {
  CLI::App app("Keeps the memory of modeld's host residencies. Started by modeld, not by hand.");
  app.set_version_flag("--version", "modeld-agent-host " MODELD_VERSION);
  AgentArguments arguments;
  AddAgentArguments(app, arguments);
  app.get_option("--socket")->required();
  CLI11_PARSE(app, argc, argv);
  return RunAgent("modeld-agent-host", arguments, OpenHost);
}

}  // namespace
}  // namespace modeld::agent

int main(int argc, char** argv) { return modeld::agent::Main(argc, argv); }
