#include "app/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <thread>
#include <utility>

#include "app/logging.h"
#include "app/settings.h"
#include "app/version.h"
#include "metrics/state.h"
#include "supervisor/gpu_list.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

// Enough that one file system that hangs does not hold up the others' references.
constexpr int kResolveThreads = 8;
constexpr int kInspectThreads = 2;
// A driver that nobody has used yet, and a context.
constexpr std::chrono::seconds kGpuPatience{60};
// Of whoever collects metrics.
constexpr std::chrono::seconds kSnapshotPatience{2};

// A parser is a process that reads a header.
int PlanThreads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 2, 8);
}

std::string_view LevelName(LogLevel level) {
  constexpr std::string_view kNames[] = {"debug", "info", "warn", "error"};
  return kNames[static_cast<size_t>(level)];
}

supervisor::AgentSupervisor::Options AgentOptions(const Config& config,
                                                  const RuntimeDir& runtime_dir) {
  supervisor::AgentSupervisor::Options options;
  options.socket_path = runtime_dir.File("agent-host.sock");
  options.grace = config.agent_grace;
  options.log_level = std::string(LevelName(config.log_level));
  options.log_format = config.log_format == LogFormat::kJson ? "json" : "text";
  return options;
}

supervisor::AgentSupervisor::Options GpuAgentOptions(const Config& config,
                                                     const RuntimeDir& runtime_dir,
                                                     const std::string& uuid) {
  supervisor::AgentSupervisor::Options options = AgentOptions(config, runtime_dir);
  options.socket_path = runtime_dir.File(wire::StrCat("agent-", uuid, ".sock"));
  options.program = "modeld-agent-cuda";
  options.device = uuid;
  options.label = wire::StrCat("agent of ", uuid);
  options.arguments = {"--device", uuid, "--export", config.gpu_export.For(uuid)};
  // It sees no other GPU, so it makes no context on one by mistake.
  options.environment = {wire::StrCat("CUDA_VISIBLE_DEVICES=", uuid)};
  options.start_timeout = kGpuPatience;
  return options;
}

std::function<void(residency::AcquireResult, base::Duration)> OnAcquired(
    const std::shared_ptr<metrics::Activity>& activity) {
  if (activity == nullptr) return {};
  return [activity](residency::AcquireResult result, base::Duration took) {
    activity->OnAcquired(result, took);
  };
}

rpc::CallObserver OnCall(const std::shared_ptr<metrics::Activity>& activity) {
  if (activity == nullptr) return {};
  return [activity](std::string_view method, std::string_view code, base::Duration took) {
    activity->OnCall(method, code, took);
  };
}

residency::Policy PolicyOf(const Config& config) {
  return {.keep_alive = config.keep_alive,
          .min_residency = config.min_residency,
          .adoption_grace = config.adoption_grace};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const Config& config, FdStore* store,
                                                      Inherited inherited) {
  const auto capacity = HostCapacityBytes(config);
  if (!capacity.ok()) return capacity.status();
  std::optional<gid_t> group;
  if (!config.socket_group.empty()) {
    const auto id = GroupId(config.socket_group);
    if (!id.ok()) return id.status();
    group = *id;
  }
  auto runtime_dir = RuntimeDir::Open(config.runtime_dir, group);
  if (!runtime_dir.ok()) return runtime_dir.status();
  std::unique_ptr<state::StateFile> state;
  if (!config.state_dir.empty()) {
    if (auto status = MakeStateDir(config.state_dir); !status.ok()) return status;
    auto opened = state::StateFile::Open(config.state_dir);
    if (!opened.ok()) return opened.status();
    state = *std::move(opened);
  }
  std::unique_ptr<Daemon> daemon(
      new Daemon(config, *std::move(runtime_dir), std::move(state), *capacity, store));
  if (auto status = daemon->BringUp(group, std::move(inherited)); !status.ok()) return status;
  return daemon;
}

Daemon::Daemon(const Config& config, RuntimeDir runtime_dir,
               std::unique_ptr<state::StateFile> state, uint64_t host_capacity_bytes,
               FdStore* store)
    : config_(config),
      store_(store),
      runtime_dir_(std::move(runtime_dir)),
      state_(std::move(state)),
      timer_(std::make_unique<base::ThreadTimer>()),
      resolve_pool_("resolve", kResolveThreads),
      plan_pool_("plan", PlanThreads()),
      inspect_pool_("inspect", kInspectThreads),
      resolver_({.roots = config.roots}),
      catalog_([this](const std::string& reference) { return resolver_.Resolve(reference); }, {},
               config.state_dir.empty() ? std::string() : config.state_dir + "/digests"),
      activity_(config.metrics_listen.empty()
                    ? nullptr
                    : std::make_shared<metrics::Activity>(base::SystemClock())),
      manager_({.catalog = &catalog_,
                .resolve_executor = &resolve_pool_,
                .plan_executor = &plan_pool_,
                .clock = &base::SystemClock(),
                .timer = timer_.get(),
                .share_tensors = config.share_tensors,
                .on_acquired = OnAcquired(activity_),
                .state = state_.get(),
                .policy = PolicyOf(config)}),
      preloader_(manager_),
      event_logger_(manager_.events(),
                    [this](std::string_view reference) { return preloader_.IsLoading(reference); }),
      host_backend_(store, &manager_),
      host_agent_(std::in_place, AgentOptions(config, runtime_dir_), &host_backend_) {
  if (activity_ != nullptr) {
    activity_subscription_ = manager_.events().Subscribe(
        0, [this](const residency::Event& event) { activity_->OnEvent(event); });
  }
  host_backend_.set_backend(&*host_agent_);
  manager_.AddDevice(std::string(residency::kHostDevice), host_capacity_bytes, &host_backend_);
}

Daemon::~Daemon() { TearDown(/*leave_agent_running=*/false); }

absl::Status Daemon::StartAgent() {
  const absl::Status status = host_agent_->Start();
  if (status.ok()) return status;
  // An agent that was there already may have been on its way out when it was found: killed a moment
  // ago, or at the end of its grace period. Start has seen to it that it is gone, so that the
  // second time it is a new one.
  Log(LogLevel::kWarn, "the host agent did not come up; once more",
      {{"why", std::string(wire::ToStd(status.message()))}});
  host_agent_.emplace(AgentOptions(config_, runtime_dir_), &host_backend_);  // at the same address
  return host_agent_->Start();
}

// Before anything happens that would have to be remembered.
void Daemon::RestoreState() {
  if (state_ == nullptr) return;
  for (const std::string& note : state_->notes()) {
    Log(LogLevel::kWarn, "the state was damaged", {{"what", note}});
  }
  manager_.Restore(state_->TakeLoaded());
  state_subscription_ = manager_.events().Subscribe(0, [this](const residency::Event& event) {
    // Leases end with modeld, and come and go too often for a disk.
    if (!residency::IsOfLease(event)) state_->OnEvent(event);
  });
}

void Daemon::CloseState() {
  if (state_subscription_) manager_.events().Unsubscribe(*state_subscription_);
  state_subscription_.reset();
  if (state_ != nullptr) state_->Close();
}

// GPUs are no condition for serving: what is wrong with one is its own note.
void Daemon::FindGpus() {
  if (config_.gpus == "none") {
    gpu_notes_.push_back("not used: gpus = \"none\" in modeld's configuration");
    return;
  }
  const auto list = supervisor::ListGpus();
  if (!list.ok()) {
    const bool absent = absl::IsNotFound(list.status());
    gpu_notes_.push_back(
        absent ? "not used: modeld-agent-cuda is not installed beside modeld, which is built where "
                 "there is a CUDA toolkit"
               : std::string(wire::ToStd(list.status().message())));
    Log(absent ? LogLevel::kDebug : LogLevel::kWarn, "no GPUs", {{"why", gpu_notes_.back()}});
    return;
  }
  for (const std::string& note : list->notes()) {
    gpu_notes_.push_back(note);
    Log(LogLevel::kInfo, "no GPU", {{"why", note}});
  }
  for (const v1::Gpu& gpu : list->gpus()) {
    residency::DeviceFacts facts;
    facts.index = static_cast<uint32_t>(gpus_.size());
    facts.name = gpu.name();
    facts.pci_bus_id = gpu.pci_bus_id();
    facts.memory_bytes = gpu.memory_bytes();
    auto backend = std::make_unique<supervisor::KeptBackend>(store_, &manager_);
    auto agent = std::make_unique<supervisor::AgentSupervisor>(
        GpuAgentOptions(config_, runtime_dir_, gpu.uuid()), backend.get());
    backend->set_backend(agent.get());
    manager_.AddDevice(gpu.uuid(), GpuCapacityBytes(config_, gpu.uuid(), gpu.memory_bytes()),
                       backend.get(), std::move(facts));
    gpus_.push_back({gpu.uuid(), std::move(backend), std::move(agent)});
  }
}

// All at once: a context takes a second.
void Daemon::StartGpus() {
  for (const Gpu& gpu : gpus_) gpu.agent->StartInBackground();
  const base::TimePoint deadline = base::SystemClock().Now() + kGpuPatience;
  for (const Gpu& gpu : gpus_) {
    if (gpu.agent->WaitUntilUp(deadline)) continue;
    // Its supervisor says why.
    Log(LogLevel::kInfo, "a GPU's agent does not come up; serving without it",
        {{"device", gpu.uuid}});
  }
}

// What is of no use any more leaves the store, so that its memory comes back.
void Daemon::Restore(std::vector<supervisor::NamedFd> inherited) {
  if (inherited.empty()) return;
  supervisor::Found found = supervisor::Assemble(std::move(inherited));
  std::map<std::string, std::vector<supervisor::FoundResidency>> by_device;
  for (supervisor::FoundResidency& residency : found.residencies) {
    by_device[residency.entry.record.device].push_back(std::move(residency));
  }
  host_backend_.Restore(std::move(by_device[std::string(residency::kHostDevice)]));
  by_device.erase(std::string(residency::kHostDevice));
  for (const Gpu& gpu : gpus_) {
    gpu.backend->Restore(std::move(by_device[gpu.uuid]));
    by_device.erase(gpu.uuid);
  }
  for (auto& [device, residencies] : by_device) {
    for (supervisor::FoundResidency& residency : residencies) {
      found.unusable_because.push_back(wire::StrCat("residency ", residency.entry.record.id,
                                                    ": its device ", device, " is not here"));
      found.unusable_names.insert(found.unusable_names.end(), residency.names.begin(),
                                  residency.names.end());
    }
  }
  for (const std::string& why : found.unusable_because) {
    Log(LogLevel::kWarn, "what the service manager kept is of no use", {{"why", why}});
  }
  if (store_ != nullptr && !found.unusable_names.empty()) {
    store_->Remove(std::move(found.unusable_names));
  }
}

void Daemon::TellRestored() {
  host_backend_.TellRestored();
  for (const Gpu& gpu : gpus_) gpu.backend->TellRestored();
}

std::vector<base::ListeningSocket> Daemon::OfRuntimeDir(
    std::vector<base::ListeningSocket> sockets) const {
  std::erase_if(sockets, [this](base::ListeningSocket& socket) {
    const std::filesystem::path path = socket.path;
    std::error_code error;
    if (std::filesystem::equivalent(path.parent_path(), runtime_dir_.path(), error)) {
      socket.path = runtime_dir_.File(path.filename().string());
      return false;
    }
    Log(LogLevel::kWarn, "the service manager listens on a socket outside the runtime directory",
        {{"socket", socket.path}, {"runtime_dir", runtime_dir_.path()}});
    return true;
  });
  return sockets;
}

absl::Status Daemon::BringUp(std::optional<gid_t> socket_group, Inherited inherited) {
  RestoreState();
  residency::Event started;
  started.type = residency::EventType::kDaemonStarted;
  started.pid = ::getpid();
  manager_.events().Publish(std::move(started));

  FindGpus();
  Restore(std::move(inherited.stored));
  if (auto status = StartAgent(); !status.ok()) {
    TearDown(/*leave_agent_running=*/false);
    return status;
  }
  StartGpus();
  TellRestored();
  auto server = rpc::Server::Start(
      {.runtime_dir = runtime_dir_.path(),
       .peers = {.allow_uids = config_.allow_uids, .allow_gids = config_.allow_gids},
       .socket_group = socket_group,
       .version = kVersion,
       .roots = config_.roots,
       .on_call = OnCall(activity_)},
      {.manager = manager_,
       .executor = inspect_pool_,
       .inspect = [this](const std::string& reference) { return Inspect(reference); },
       .sandbox = [this] { return Sandbox(); },
       .gpu_notes = gpu_notes_,
       .clock = base::SystemClock(),
       .degraded = [this] { return preloader_.notes(); }},
      OfRuntimeDir(std::move(inherited.sockets)));
  if (!server.ok()) {
    // An agent that was there before, with what it holds, is not this daemon's to end.
    TearDown(/*leave_agent_running=*/host_agent_->starts() == 0);
    return server.status();
  }
  server_ = *std::move(server);
  ServeMetrics();
  server_->SetServing(true);
  StartPreloads();
  return absl::OkStatus();
}

void Daemon::StartPreloads() {
  std::vector<std::string> uuids;
  for (const Gpu& gpu : gpus_) uuids.push_back(gpu.uuid);
  preloader_.Start(config_.preloads, std::move(uuids));
}

// Models are served also where metrics cannot be.
void Daemon::ServeMetrics() {
  if (activity_ == nullptr) return;
  auto state = std::make_shared<metrics::State>(
      [this](residency::Reply<residency::Snapshot> reply) {
        manager_.GetSnapshot({.residencies = true, .devices = true}, std::move(reply));
      },
      kSnapshotPatience, metrics::Identity(kVersion, base::SystemClock().WallNow()));
  auto exporter = metrics::Exporter::Start(config_.metrics_listen, {std::move(state), activity_});
  if (!exporter.ok()) {
    Log(LogLevel::kError, "no metrics",
        {{"why", std::string(wire::ToStd(exporter.status().message()))}});
    return;
  }
  exporter_ = *std::move(exporter);
  const std::string host = config_.metrics_listen.substr(0, config_.metrics_listen.rfind(':'));
  Log(LogLevel::kInfo, "metrics",
      {{"url", wire::StrCat("http://", host, ":", exporter_->port(), "/metrics")}});
}

void Daemon::Stop() {
  preloader_.Stop();
  manager_.BeginShutdown();
  server_->Shutdown(config_.stop_timeout);
  host_backend_.ForgetAll();
  for (const Gpu& gpu : gpus_) gpu.backend->ForgetAll();
  TearDown(/*leave_agent_running=*/false);
}

void Daemon::Reload(const Config& config) {
  TakeReloadable(config, config_);
  Logging::SetLevel(config_.log_level);
  manager_.SetPolicy(PolicyOf(config_));
  server_->SetPeers({.allow_uids = config_.allow_uids, .allow_gids = config_.allow_gids});
}

void Daemon::TearDown(bool leave_agent_running) {
  if (std::exchange(down_, true)) return;
  preloader_.Stop();
  exporter_.reset();
  if (activity_subscription_) manager_.events().Unsubscribe(*activity_subscription_);
  server_.reset();
  for (const Gpu& gpu : gpus_) gpu.agent->Stop(leave_agent_running);
  host_agent_->Stop(leave_agent_running);
  // Whoever has a task of the manager finishes it, and gets no more.
  resolve_pool_.Stop();
  plan_pool_.Stop();
  inspect_pool_.Stop();
  CloseState();
  timer_.reset();
}

bool Daemon::IsAlive() {
  if (!answered_->exchange(false)) return false;
  manager_.GetSnapshot(
      {}, [answered = answered_](const residency::Snapshot&) { answered->store(true); });
  return true;
}

absl::StatusOr<rpc::InspectResult> Daemon::Inspect(const std::string& reference) {
  auto checkpoint = catalog_.Resolve(reference, {});
  if (!checkpoint.ok()) return checkpoint.status();
  auto inspection = catalog_.Inspect(**checkpoint);
  if (!inspection.ok()) return inspection.status();
  return rpc::InspectResult{.checkpoint = *std::move(checkpoint),
                            .format = std::move(inspection->format),
                            .source_table = std::move(inspection->source),
                            .reference_table = std::move(inspection->reference_table),
                            .resident_bytes = inspection->resident_bytes};
}

std::optional<v1::ParserSandbox> Daemon::Sandbox() const {
  const auto sandbox = catalog_.last_sandbox();
  if (!sandbox) return std::nullopt;
  v1::ParserSandbox message;
  message.set_landlock_abi(sandbox->landlock_abi);
  message.set_seccomp(sandbox->seccomp);
  message.set_address_space_limit_bytes(sandbox->address_space_limit_bytes);
  return message;
}

}  // namespace modeld::app
