#include "agent/agent_program.h"

#include <malloc.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <utility>

#include "agent/agent_log.h"
#include "agent/agent_server.h"
#include "base/log_line.h"
#include "base/unix_listener.h"

namespace modeld::agent {
namespace {

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

int Refuse(const std::string& program, const AgentArguments& arguments, const absl::Status& why) {
  if (arguments.log_format == "json") {
    spdlog::error("msg=\"failed\" error={}", base::QuotedLogValue(std::string(why.message())));
  } else {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), std::string(why.message()).c_str());
  }
  return 1;
}

}  // namespace

void AddAgentArguments(CLI::App& app, AgentArguments& arguments) {
  app.add_option("--socket", arguments.socket, "Unix socket to serve modeld on");
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
  app.add_option("--log-format", arguments.log_format, "Lines of key=value, or of JSON")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}));
}

int RunAgent(const std::string& program, const AgentArguments& arguments,
             const std::function<absl::StatusOr<Agent::Options>()>& make) {
  // modeld's end, also by a signal to its process group, is not this process' end. Refused where it
  // leads a group already: then it was started from a shell.
  ::setsid();
  RaiseOpenFiles();
  // Threads come and go with loads: a heap for each would keep memory that no load needs any more.
  ::mallopt(M_ARENA_MAX, 2);
  StartLogging(program, arguments.log_level, arguments.log_format);
  const wire::UniqueFd stop = TakeStopSignals();
  auto listener = base::UnixListener::Bind(arguments.socket, 0600);
  if (!listener.ok()) return Refuse(program, arguments, listener.status());
  auto options = make();
  if (!options.ok()) return Refuse(program, arguments, options.status());

  options->reader_threads = arguments.threads;
  options->version = MODELD_VERSION;
  // A new process is the only way to a new context. The one that is lost frees nothing any more.
  std::atomic<bool> lost{false};
  options->on_device_lost = [&lost](const absl::Status& why) {
    if (lost.exchange(true)) return;
    spdlog::error("msg=\"the device is lost\" error={}",
                  base::QuotedLogValue(std::string(why.message())));
    ::kill(::getpid(), SIGTERM);
  };
  spdlog::info("msg=\"ready\" pid={} socket={} export={} note={}", ::getpid(),
               base::LogValue(arguments.socket), wire::SegmentKindName(options->export_kind),
               base::QuotedLogValue(options->export_note.empty() ? options->page_size_note
                                                                 : options->export_note));

  Agent agent(*std::move(options));
  const auto grace = std::chrono::duration_cast<base::Duration>(
      std::chrono::duration<double>(arguments.grace_seconds));
  AgentServer server(*std::move(listener), agent, stop.get(), grace);
  const absl::Status status = server.Run();
  if (!status.ok()) {
    spdlog::error("msg=\"failed\" error={}", base::QuotedLogValue(std::string(status.message())));
  }
  if (lost) return 3;
  return status.ok() ? 0 : 1;
}

}  // namespace modeld::agent
