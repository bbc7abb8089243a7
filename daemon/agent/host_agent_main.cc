// modeld-agent-host: keeps the memory of the host's residencies, so that it outlives any one
// modeld.
//
// It ends when nobody has been connected for the grace period, and on SIGTERM or SIGINT at once;
// either way it frees its share of everything. Mappings and descriptors that others hold stay
// valid.

#include <malloc.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "agent/agent_server.h"
#include "agent/host_agent.h"
#include "base/unix_listener.h"
#include "memory/page_choice.h"

namespace modeld::agent {
namespace {

struct Arguments {
  std::string socket;
  double grace_seconds = 60;
  int threads = 0;
  std::string log_level = "info";
};

void StartLogging(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("agent");
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ level=%l program=modeld-agent-host %v",
                      spdlog::pattern_time_type::utc);
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

// Every residency costs two descriptors or more.
void RaiseOpenFiles() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Before any thread starts, so that all of them inherit the mask.
wire::UniqueFd TakeStopSignals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return wire::UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int Serve(const Arguments& arguments) {
  // modeld's end, also by a signal to its process group, is not this process' end. Refused where it
  // leads a group already: then it was started from a shell.
  ::setsid();
  RaiseOpenFiles();
  // Threads come and go with loads: a heap for each would keep memory that no load needs any more.
  ::mallopt(M_ARENA_MAX, 2);
  StartLogging(arguments.log_level);
  const wire::UniqueFd stop = TakeStopSignals();
  auto listener = base::UnixListener::Bind(arguments.socket, 0600);
  if (!listener.ok()) {
    std::fprintf(stderr, "modeld-agent-host: %s\n",
                 std::string(listener.status().message()).c_str());
    return 1;
  }
  const memory::PageChoice pages = memory::ProbePages();
  spdlog::info("msg=\"ready\" pid={} socket={} pages=\"{}\"", ::getpid(), arguments.socket,
               pages.note);

  HostAgent agent({pages, arguments.threads, MODELD_VERSION});
  const auto grace = std::chrono::duration_cast<base::Duration>(
      std::chrono::duration<double>(arguments.grace_seconds));
  AgentServer server(*std::move(listener), agent, stop.get(), grace);
  const absl::Status status = server.Run();
  if (!status.ok()) spdlog::error("msg=\"failed\" error=\"{}\"", std::string(status.message()));
  return status.ok() ? 0 : 1;
}

int Main(int argc, char** argv) {
  CLI::App app("Keeps the memory of modeld's host residencies. Started by modeld, not by hand.");
  app.set_version_flag("--version", "modeld-agent-host " MODELD_VERSION);
  Arguments arguments;
  app.add_option("--socket", arguments.socket, "Unix socket to serve modeld on")->required();
  app.add_option("--grace", arguments.grace_seconds, "Seconds without a modeld until it ends")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--threads", arguments.threads,
                 "Threads that read for one load (0: processors, at most 4)")
      ->capture_default_str()
      ->check(CLI::Range(0, 256));
  app.add_option("--log-level", arguments.log_level, "Least severe lines that are logged")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  CLI11_PARSE(app, argc, argv);
  return Serve(arguments);
}

}  // namespace
}  // namespace modeld::agent

int main(int argc, char** argv) { return modeld::agent::Main(argc, argv); }
