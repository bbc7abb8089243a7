#include "app/run.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <thread>

#include "absl/strings/str_join.h"
#include "app/command_line.h"
#include "app/config_text.h"
#include "app/daemon.h"
#include "app/fd_store.h"
#include "app/inherited.h"
#include "app/limits.h"
#include "app/logging.h"
#include "app/settings.h"
#include "app/signals.h"
#include "app/systemd.h"
#include "app/version.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

// To a person at a terminal, or whoever reads what a failed start said.
void Say(const absl::Status& status) {
  std::cerr << "modeld: " << wire::ToStd(status.message()) << "\n";
  const std::string hint = wire::GetErrorInfo(status).hint;
  if (!hint.empty()) std::cerr << "modeld: " << hint << "\n";
}

// Where the log is read by machines, it has no line of another kind.
void SayNotStarted(const Config& config, const absl::Status& status) {
  if (config.log_format == LogFormat::kText) return Say(status);
  Log(LogLevel::kError, "failed",
      {{"why", std::string(wire::ToStd(status.message()))},
       {"hint", wire::GetErrorInfo(status).hint}});
}

std::vector<std::string> MissingRoots(const Config& config) {
  std::vector<std::string> missing;
  for (const std::string& root : config.roots) {
    std::error_code error;
    if (!std::filesystem::is_directory(root, error)) missing.push_back(root);
  }
  return missing;
}

int CheckConfig(const LoadedConfig& loaded) {
  const Config& config = loaded.config;
  if (const auto bytes = HostCapacityBytes(config); !bytes.ok()) {
    Say(bytes.status());
    return kUsage;
  }
  if (!config.socket_group.empty()) {
    if (const auto group = GroupId(config.socket_group); !group.ok()) {
      Say(group.status());
      return kUsage;
    }
  }
  for (const std::string& root : MissingRoots(config)) {
    std::cerr << "modeld: warning: the root " << root << " is no directory now\n";
  }
  if (config.roots.empty()) {
    std::cerr
        << "modeld: warning: no roots, so no checkpoint can be opened; set roots, or --root\n";
  }
  std::cerr << "modeld: the configuration is valid"
            << (loaded.file.empty() ? "" : " (" + loaded.file + ")") << "\n";
  return 0;
}

void LogStart(const LoadedConfig& loaded, uint64_t fd_limit) {
  const Config& config = loaded.config;
  const auto capacity = HostCapacityBytes(config);
  Log(LogLevel::kInfo, "starting",
      {{"version", kVersion},
       {"pid", wire::StrCat(::getpid())},
       {"config", loaded.file.empty() ? "none" : loaded.file},
       {"runtime_dir", config.runtime_dir},
       {"roots", absl::StrJoin(config.roots, ":")},
       {"host_capacity", capacity.ok() ? wire::StrCat(*capacity) : "unknown"},
       {"fd_limit", wire::StrCat(fd_limit)}});
  for (const std::string& root : MissingRoots(config)) {
    Log(LogLevel::kWarn, "a root is no directory now", {{"root", root}});
  }
  if (config.roots.empty()) {
    Log(LogLevel::kWarn, "no roots, so no checkpoint can be opened: set roots, or --root");
  }
}

// What the next start would have is read again; what a reload can take over is taken over. A file
// that is wrong changes nothing.
void Reload(const CommandLine& command, Daemon& daemon, Config& running) {
  NotifyReloading("reading the configuration again");
  const auto loaded = LoadConfig(command.settings, command.config_file, TheSurroundings());
  if (!loaded.ok()) {
    Log(LogLevel::kError, "the configuration is not taken over",
        {{"why", std::string(wire::ToStd(loaded.status().message()))}});
  } else {
    const Reloaded reloaded = TakeReloadable(loaded->config, running);
    daemon.Reload(running);
    const auto join = [](const std::vector<std::string_view>& names) {
      return absl::StrJoin(names, ",",
                           [](std::string* out, std::string_view name) { out->append(name); });
    };
    Log(LogLevel::kInfo, "reloaded",
        {{"config", loaded->file.empty() ? "none" : loaded->file},
         {"changed", join(reloaded.taken)}});
    if (!reloaded.waiting.empty()) {
      Log(LogLevel::kWarn, "these settings changed and wait for a restart",
          {{"settings", join(reloaded.waiting)}});
    }
  }
  NotifyReady("serving");
}

// Until a signal that ends it, which is returned. Tells the watchdog, if there is one, as long as
// the daemon answers.
Signals::Received ServeUntilSignal(Daemon& daemon, Signals& signals,
                                   const std::function<void()>& reload) {
  const auto watchdog = WatchdogInterval();
  base::TimePoint next_tick = base::SystemClock().Now();
  for (;;) {
    std::optional<base::TimePoint> tick;
    if (watchdog) tick = next_tick;
    if (const auto received = signals.Wait(tick)) {
      if (received->request != Request::kReload) return *received;
      reload();
      continue;
    }
    if (!watchdog) continue;
    next_tick = base::SystemClock().Now() + *watchdog / 3;
    if (daemon.IsAlive()) {
      NotifyWatchdog();
    } else {
      Log(LogLevel::kError, "the manager does not answer: the watchdog is not told");
    }
  }
}

// Waits for the stop as long as it may take; a second signal ends the process at once, and leaves
// the agent to its grace period.
void StopOrLeave(Daemon& daemon, Signals& signals) {
  std::atomic<bool> stopped = false;
  std::thread stopper([&] {
    daemon.Stop();
    stopped.store(true);
    signals.Wake();
  });
  while (!stopped.load()) {
    const auto received = signals.Wait();
    if (!received || received->request == Request::kReload) continue;
    constexpr std::string_view kWords = "modeld: a second signal: leaving at once\n";
    (void)!::write(STDERR_FILENO, kWords.data(), kWords.size());
    ::_exit(kFailed);
  }
  stopper.join();
}

// As abrupt as a crash, which everybody is prepared for: workers come back to the next modeld with
// what they have mapped, and the agents wait for it with what they hold.
[[noreturn]] void HandOver(std::unique_ptr<FdStore> store) {
  if (store != nullptr) store->Flush();
  Logging::Flush();
  ::_exit(0);
}

int Serve(const CommandLine& command, const LoadedConfig& loaded) {
  Inherited inherited = TakeInherited();
  Signals signals;
  const Logging logging(loaded.config.log_level, StyleOfStderr(TheSurroundings()),
                        loaded.config.log_format);
  LogStart(loaded, RaiseFdLimit());
  std::unique_ptr<FdStore> store = FdStore::Find(TheSurroundings(), inherited.stored);
  auto daemon = Daemon::Start(loaded.config, store.get(), std::move(inherited));
  if (!daemon.ok()) {
    SayNotStarted(loaded.config, daemon.status());
    return kFailed;
  }
  Log(LogLevel::kInfo, "ready", {{"socket", loaded.config.runtime_dir + "/modeld.sock"}});
  NotifyReady("serving");

  Config running = loaded.config;
  const Signals::Received received =
      ServeUntilSignal(**daemon, signals, [&] { Reload(command, **daemon, running); });
  if (received.request == Request::kHandOver) {
    Log(LogLevel::kInfo, "handing over to the next modeld",
        {{"agent_grace", DurationText(running.agent_grace)}});
    NotifyStopping("handing over");
    (*daemon)->CloseState();
    HandOver(std::move(store));
  }
  Log(LogLevel::kInfo, "stopping", {{"signal", ::strsignal(received.signal)}});
  NotifyStopping("waiting for holders to let go");
  StopOrLeave(**daemon, signals);
  Log(LogLevel::kInfo, "stopped");
  return 0;
}

}  // namespace

int Run(int argc, const char* const* argv) {
  const auto parsed = ParseCommandLine(argc, argv);
  if (const auto* exit = std::get_if<Exit>(&parsed)) {
    std::cout << exit->out;
    std::cerr << exit->err;
    return exit->code;
  }
  const auto& command = std::get<CommandLine>(parsed);
  const auto loaded = LoadConfig(command.settings, command.config_file, TheSurroundings());
  if (!loaded.ok()) {
    Say(loaded.status());
    return kUsage;
  }
  switch (command.action) {
    case CommandLine::Action::kCheckConfig:
      return CheckConfig(*loaded);
    case CommandLine::Action::kDumpConfig:
      std::cout << DumpConfig(*loaded);
      return 0;
    case CommandLine::Action::kServe:
      return Serve(command, *loaded);
  }
  return kFailed;
}

}  // namespace modeld::app
