#include "supervisor/agent_supervisor.h"

#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/error.h"

namespace modeld::supervisor {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr base::Duration kFirstPause = milliseconds(200);
// Well below the time for which what is asked for waits for an agent (5 s).
constexpr base::Duration kLongestPause = seconds(3);
// An agent that ran this long was no failed start.
constexpr base::Duration kLongLife = seconds(10);
constexpr base::Duration kGreetingTimeout = seconds(10);
constexpr base::Duration kEndPatience = milliseconds(500);
constexpr base::Duration kTerminatePatience = seconds(5);
constexpr base::Duration kDrainPatience = seconds(1);

base::TimePoint Now() { return base::SystemClock().Now(); }

absl::Status Unavailable(const std::string& device, const std::string& what,
                         const std::string& path) {
  wire::ErrorMetadata metadata = {{"device", device}};
  if (!path.empty()) metadata["file"] = path;
  return wire::MakeError(wire::Reason::kDeviceUnavailable, what, std::move(metadata),
                         "modeld restarts it; ask again");
}

std::string PathOf(const residency::LoadJob& job) {
  return job.checkpoint->files.empty() ? job.checkpoint->reference
                                       : job.checkpoint->files.front().path;
}

AgentProcess::Options ProcessOptions(const AgentSupervisor::Options& options) {
  AgentProcess::Options process;
  process.program = options.program;
  process.program_directory = options.program_directory;
  process.socket_path = options.socket_path;
  process.start_timeout = options.start_timeout;
  process.arguments = {
      "--grace",      absl::StrCat(std::chrono::duration<double>(options.grace).count()),
      "--threads",    absl::StrCat(options.reader_threads),
      "--log-level",  options.log_level,
      "--log-format", options.log_format};
  process.arguments.insert(process.arguments.end(), options.arguments.begin(),
                           options.arguments.end());
  process.environment = options.environment;
  return process;
}

}  // namespace

AgentSupervisor::AgentSupervisor(Options options, residency::BackendObserver* observer)
    : options_(std::move(options)),
      observer_(observer),
      stop_fd_(::eventfd(0, EFD_CLOEXEC)),
      process_(ProcessOptions(options_), stop_fd_.get()) {}

AgentSupervisor::~AgentSupervisor() { Stop(true); }

absl::Status AgentSupervisor::Start() {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "agent");
  absl::Status status;
  {
    wire::MutexLock lock(mutex_);
    while (phase_ == Phase::kStarting) phase_changed_.Wait(mutex_);
    if (phase_ == Phase::kUp) return absl::OkStatus();
    status = why_down_;
  }
  Stop(false);
  return wire::MakeError(
      wire::Reason::kDeviceUnavailable,
      absl::StrCat("the ", options_.label, " cannot be reached: ", std::string(status.message())),
      {{"device", options_.device}});
}

void AgentSupervisor::StartInBackground() {
  in_background_ = true;
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "agent");
}

bool AgentSupervisor::WaitUntilUp(base::TimePoint deadline) {
  wire::MutexLock lock(mutex_);
  while (phase_ == Phase::kStarting) {
    if (!phase_changed_.WaitUntil(mutex_, deadline)) return false;
  }
  return phase_ == Phase::kUp;
}

void AgentSupervisor::Stop(bool leave_running) {
  if (!thread_.joinable()) return;
  std::shared_ptr<AgentLink> link;
  {
    wire::MutexLock lock(mutex_);
    link = link_;
  }
  if (link != nullptr) link->Drain(Now() + kDrainPatience);
  const uint64_t one = 1;
  if (::write(stop_fd_.get(), &one, sizeof(one)) < 0)
    spdlog::error("cannot stop the agent's supervisor");
  thread_.join();
  SetPhase(Phase::kStopped, absl::CancelledError("modeld is stopping"));
  if (!leave_running && !process_.Terminate(kTerminatePatience)) {
    spdlog::error("the {} (process {}) does not end", options_.label, process_.pid());
  }
}

absl::Status AgentSupervisor::CheckJob(const residency::LoadJob& job) const {
  if (link_ == nullptr) {
    return Unavailable(
        options_.device,
        absl::StrCat("the ", options_.label, " is not running (", std::string(why_down_.message()),
                     "), so ", PathOf(job), " cannot be loaded"),
        PathOf(job));
  }
  // With the table and the reference tables.
  const size_t descriptors = job.checkpoint->files.size() + 1 + job.record.sources.size();
  if (descriptors > wire::kMaxFdsPerFrame) {
    return wire::MakeError(wire::Reason::kFormatUnsupported,
                           absl::StrCat(PathOf(job), " is one of ", job.checkpoint->files.size(),
                                        " files, more than ", plan::kMaxFiles),
                           {{"file", PathOf(job)}}, "write the checkpoint in fewer, larger files");
  }
  return absl::OkStatus();
}

void AgentSupervisor::Load(residency::LoadJob job) {
  absl::Status refused;
  {
    wire::MutexLock lock(mutex_);
    refused = CheckJob(job);
    if (refused.ok()) {
      loads_[job.record.id] = {PathOf(job), job.plan, job.borrowed};
      link_->Send([job] { return MakeLoad(job); });
    }
  }
  if (!refused.ok()) observer_->OnLoadFailed(job.record.id, refused);
}

void AgentSupervisor::Identify(residency::LoadJob job) {
  absl::Status refused;
  {
    wire::MutexLock lock(mutex_);
    refused = CheckJob(job);
    if (refused.ok()) {
      readings_[job.record.id] = {PathOf(job), job.plan, {}};
      link_->Send([job] { return MakeIdentify(job); });
    }
  }
  if (!refused.ok()) observer_->OnIdentified(job.record.id, refused);
}

void AgentSupervisor::UpdateRecord(const residency::ResidencyRecord& record) {
  wire::MutexLock lock(mutex_);
  if (link_ == nullptr) return;
  link_->Send([record] { return MakeUpdateRecord(record); });
}

void AgentSupervisor::CancelLoad(const std::string& residency_id) {
  wire::MutexLock lock(mutex_);
  if (link_ == nullptr) return;
  if (!loads_.contains(residency_id) && !readings_.contains(residency_id)) return;
  link_->Send([residency_id] { return MakeCancel(residency_id); });
}

void AgentSupervisor::Release(const std::string& residency_id) {
  {
    wire::MutexLock lock(mutex_);
    tables_.erase(residency_id);
    if (link_ != nullptr) {
      releases_.insert(residency_id);
      link_->Send([residency_id] { return MakeRelease(residency_id); });
      return;
    }
    given_up_.insert(residency_id);
  }
  observer_->OnReleased(residency_id, 0);
}

void AgentSupervisor::Adopt(const residency::ResidencyRecord& record,
                            std::shared_ptr<const residency::ResidentMemory> memory,
                            std::shared_ptr<const residency::ResidentDigests> digests) {
  wire::MutexLock lock(mutex_);
  if (link_ == nullptr) return;
  tables_[record.id] = memory->table;
  link_->Send([record, memory = std::move(memory), digests = std::move(digests)] {
    return MakeAdopt(record, memory, digests);
  });
}

void AgentSupervisor::Run() {
  base::Duration pause{};
  std::string said;  // one that fails as it did before is one failure
  while (true) {
    const base::TimePoint began = Now();
    auto connection = process_.Reach();
    starts_.store(process_.starts(), std::memory_order_relaxed);
    const absl::Status why = connection.ok() ? Serve(*std::move(connection)) : connection.status();
    if (Rest({})) {
      WentDown(absl::CancelledError("modeld is stopping"));
      return;
    }
    if (!WentDown(why) && said != std::string(why.message())) {
      said = std::string(why.message());
      spdlog::error("the {} is away: {}", options_.label, said);
    }
    // Only a first end is answered at once: an agent that fails as it starts must not be started as
    // fast as it fails.
    if (Now() - began > kLongLife) pause = {};
    if (pause > base::Duration::zero() && Rest(pause)) return;
    pause = std::clamp(pause * 2, kFirstPause, kLongestPause);
  }
}

absl::Status AgentSupervisor::Serve(wire::UniqueFd connection) {
  auto socket = std::make_shared<wire::FramedSocket>(std::move(connection));
  auto link = std::make_shared<AgentLink>(socket);
  residency::AgentInfo info;
  std::vector<InventoryEntry> inventory;
  if (auto status = Greet(*socket, *link, &info, &inventory); !status.ok()) {
    // One that cannot open its device ends without a greeting.
    const std::string end = absl::IsCancelled(status) ? "" : process_.HowItEnded(kEndPatience);
    return end.empty()
               ? status
               : absl::UnavailableError(absl::StrCat(end, ": its own lines in this log say why"));
  }
  CameUp(link, info, std::move(inventory));

  absl::Status status;
  while (status.ok()) {
    auto frame = Receive(*socket, base::TimePoint::max());
    status = frame.ok() ? Handle(*std::move(frame)) : frame.status();
  }
  {
    wire::MutexLock lock(mutex_);
    link_ = nullptr;
    why_down_ = status;
  }
  link->Close();
  if (absl::IsCancelled(status)) return status;
  const std::string end = process_.HowItEnded(kEndPatience);
  if (!end.empty()) return absl::UnavailableError(end);
  return absl::UnavailableError(
      absl::StrCat("its connection was lost: ", std::string(status.message())));
}

absl::Status AgentSupervisor::Greet(wire::FramedSocket& socket, AgentLink& link,
                                    residency::AgentInfo* info,
                                    std::vector<InventoryEntry>* inventory) {
  link.Send([] { return MakeHello(); });
  const base::TimePoint deadline = Now() + kGreetingTimeout;
  bool welcome = false;
  while (true) {
    auto frame = Receive(socket, deadline);
    if (!frame.ok()) return frame.status();
    v1::AgentEvent event;
    if (!event.ParseFromString(frame->payload)) return absl::DataLossError("it talks garbage");
    if (event.has_welcome()) {
      const uint32_t version = event.welcome().protocol_version();
      if (version != kAgentProtocolVersion && version + 1 != kAgentProtocolVersion) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the agent that serves ", options_.socket_path, " (process ", process_.pid(),
            ", release ", event.welcome().version(), ") speaks protocol ", version,
            ", this modeld speaks ", kAgentProtocolVersion, ": end it with kill ", process_.pid()));
      }
      *info = {.pid = process_.pid(),
               .export_kind = event.welcome().export_(),
               .export_note = event.welcome().export_note(),
               .page_size_bytes = event.welcome().page_size_bytes(),
               .page_size_note = event.welcome().page_size_note()};
      welcome = true;
    } else if (!welcome) {
      return absl::DataLossError("it did not say welcome");
    } else if (event.has_inventory_end()) {
      return absl::OkStatus();
    } else if (event.has_inventory()) {
      const std::string id = event.inventory().residency_id();
      auto entry = ReadInventoryItem(event.inventory(), std::move(frame->fds));
      if (entry.ok()) {
        inventory->push_back(*std::move(entry));
        continue;
      }
      spdlog::error("residency {} of the {} is given up: {}", id, options_.label,
                    std::string(entry.status().message()));
      link.Send([id] { return MakeRelease(id); });
    }
  }
}

absl::StatusOr<wire::Frame> AgentSupervisor::Receive(wire::FramedSocket& socket,
                                                     base::TimePoint deadline) {
  while (true) {
    auto frame = socket.TryReceive();
    if (!frame.ok()) return frame.status();
    if (frame->has_value()) return **std::move(frame);
    int timeout_ms = -1;
    if (deadline != base::TimePoint::max()) {
      const auto left = std::chrono::ceil<milliseconds>(deadline - Now()).count();
      if (left <= 0) return absl::DeadlineExceededError("it does not answer");
      timeout_ms = static_cast<int>(left);
    }
    pollfd fds[] = {{stop_fd_.get(), POLLIN, 0}, {socket.fd(), POLLIN, 0}};
    ::poll(fds, std::size(fds), timeout_ms);
    if (fds[0].revents != 0) return absl::CancelledError("stopping");
  }
}

void AgentSupervisor::CameUp(std::shared_ptr<AgentLink> link, const residency::AgentInfo& info,
                             std::vector<InventoryEntry> inventory) {
  {
    wire::MutexLock lock(mutex_);
    std::vector<InventoryEntry> wanted;
    for (InventoryEntry& entry : inventory) {
      const std::string id = entry.record.id;
      if (given_up_.contains(id)) {
        link->Send([id] { return MakeRelease(id); });
      } else {
        wanted.push_back(std::move(entry));
      }
    }
    inventory = std::move(wanted);
    given_up_.clear();
    for (const InventoryEntry& entry : inventory) tables_[entry.record.id] = entry.memory->table;
    link_ = std::move(link);
  }
  spdlog::info("the {} (process {}) is up with {} residencies; {}", options_.label, info.pid,
               inventory.size(), info.export_note.empty() ? info.page_size_note : info.export_note);
  observer_->OnAgentUp(options_.device, info);
  for (InventoryEntry& entry : inventory) {
    observer_->OnInventory(entry.record, std::move(entry.memory), std::move(entry.digests));
  }
  SetPhase(Phase::kUp, absl::OkStatus());
}

bool AgentSupervisor::WentDown(const absl::Status& why) {
  std::map<std::string, InFlight> loads;
  std::map<std::string, InFlight> readings;
  std::set<std::string> releases;
  bool was_up = false;
  bool is_awaited = false;
  {
    wire::MutexLock lock(mutex_);
    was_up = phase_ == Phase::kUp;
    is_awaited = phase_ == Phase::kStarting && !in_background_;
    link_ = nullptr;
    why_down_ = why;
    loads.swap(loads_);
    readings.swap(readings_);
    releases.swap(releases_);
    tables_.clear();
    for (const auto& [id, load] : loads) given_up_.insert(id);
    given_up_.insert(releases.begin(), releases.end());
  }
  const bool stopping = absl::IsCancelled(why);
  const auto died = [&](const InFlight& load) {
    return stopping ? absl::CancelledError("modeld is stopping")
                    : Unavailable(
                          options_.device,
                          absl::StrCat("the ", options_.label, " died (",
                                       std::string(why.message()), ") while loading ", load.path),
                          load.path);
  };
  for (const auto& [id, load] : loads) observer_->OnLoadFailed(id, died(load));
  for (const auto& [id, reading] : readings) observer_->OnIdentified(id, died(reading));
  for (const std::string& id : releases) observer_->OnReleased(id, 0);
  if ((was_up || in_background_) && !stopping) {
    observer_->OnAgentDown(
        options_.device,
        Unavailable(
            options_.device,
            absl::StrCat("the ", options_.label, " died (", std::string(why.message()), ")"), ""));
  }
  SetPhase(Phase::kDown, why);
  return was_up || is_awaited;
}

absl::Status AgentSupervisor::Handle(wire::Frame frame) {
  v1::AgentEvent event;
  if (!event.ParseFromString(frame.payload)) return absl::DataLossError("it talks garbage");
  switch (event.event_case()) {
    case v1::AgentEvent::kProgress: {
      const std::string& id = event.progress().residency_id();
      bool known = false;
      {
        wire::MutexLock lock(mutex_);
        known = loads_.contains(id);
      }
      if (known) observer_->OnLoadProgress(id, event.progress().bytes_done());
      break;
    }
    case v1::AgentEvent::kDone:
      OnDone(event.done(), std::move(frame.fds));
      break;
    case v1::AgentEvent::kFailed:
      OnFailed(event.failed());
      break;
    case v1::AgentEvent::kIdentified:
      OnIdentified(event.identified(), std::move(frame.fds));
      break;
    case v1::AgentEvent::kDigest:
      OnDigest(event.digest(), std::move(frame.fds));
      break;
    case v1::AgentEvent::kReleased: {
      const std::string& id = event.released().residency_id();
      bool waited_for = false;
      {
        wire::MutexLock lock(mutex_);
        waited_for = releases_.erase(id) > 0;
      }
      if (waited_for) observer_->OnReleased(id, event.released().unreturned_bytes());
      break;
    }
    default:
      break;  // of a newer agent, or of the greeting
  }
  return absl::OkStatus();
}

void AgentSupervisor::OnDone(const v1::LoadDone& done, std::vector<wire::UniqueFd> fds) {
  const std::string& id = done.residency_id();
  std::optional<InFlight> load;
  {
    wire::MutexLock lock(mutex_);
    if (auto node = loads_.extract(id); !node.empty()) load = std::move(node.mapped());
  }
  if (!load) return;
  auto memory = ReadLoaded(done, std::move(fds), *load->plan, load->borrowed);
  {
    wire::MutexLock lock(mutex_);
    if (memory.ok()) {
      tables_[id] = (*memory)->table;
    } else if (link_ != nullptr) {
      link_->Send([id] { return MakeRelease(id); });
    }
  }
  if (memory.ok()) {
    observer_->OnLoaded(id, *std::move(memory), {done.read_mode(), done.read_nanos()});
  } else {
    observer_->OnLoadFailed(id, memory.status());
  }
}

void AgentSupervisor::OnFailed(const v1::LoadFailed& failed) {
  const std::string& id = failed.residency_id();
  {
    wire::MutexLock lock(mutex_);
    if (loads_.erase(id) == 0) return;
  }
  observer_->OnLoadFailed(id, ReadFailure(failed.failure()));
}

void AgentSupervisor::OnIdentified(const v1::Identified& identified,
                                   std::vector<wire::UniqueFd> fds) {
  const std::string& id = identified.residency_id();
  std::optional<InFlight> reading;
  {
    wire::MutexLock lock(mutex_);
    if (auto node = readings_.extract(id); !node.empty()) reading = std::move(node.mapped());
  }
  if (!reading) return;
  if (identified.has_failure()) {
    return observer_->OnIdentified(id, ReadFailure(identified.failure()));
  }
  if (fds.size() != 1) {
    return observer_->OnIdentified(id, absl::DataLossError("digests without their table"));
  }
  auto digests = ReadDigests(identified.weights_digest(), std::move(fds.front()),
                             reading->plan->table->view());
  if (!digests.ok()) return observer_->OnIdentified(id, digests.status());
  observer_->OnIdentified(id, (*digests)->content);
}

void AgentSupervisor::OnDigest(const v1::DigestDone& done, std::vector<wire::UniqueFd> fds) {
  const std::string& id = done.residency_id();
  Table table;
  {
    wire::MutexLock lock(mutex_);
    if (const auto it = tables_.find(id); it != tables_.end()) table = it->second;
  }
  if (table == nullptr || fds.size() != 1) return;
  auto digests = ReadDigests(done.weights_digest(), std::move(fds.front()), table->view());
  if (!digests.ok()) {
    spdlog::error("digest of residency {}: {}", id, std::string(digests.status().message()));
    return;
  }
  observer_->OnDigest(id, *std::move(digests));
}

void AgentSupervisor::SetPhase(Phase phase, absl::Status why) {
  {
    wire::MutexLock lock(mutex_);
    phase_ = phase;
    why_down_ = std::move(why);
  }
  phase_changed_.NotifyAll();
}

bool AgentSupervisor::Rest(base::Duration duration) const {
  pollfd stop = {stop_fd_.get(), POLLIN, 0};
  const auto ms = std::chrono::ceil<milliseconds>(duration).count();
  return ::poll(&stop, 1, static_cast<int>(ms)) > 0;
}

}  // namespace modeld::supervisor
