// Manager: from a wish to bytes in memory.

#include <sys/random.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "residency/manager.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// How long an acquire waits for an agent that is being restarted.
constexpr std::chrono::seconds kAgentPatience{5};
std::string NewResidencyId() {
  uint64_t bits = 0;
  // Blocks only before the kernel's pool is ready at boot, and does not fail for so few bytes.
  [[maybe_unused]] const ssize_t size = getrandom(&bits, sizeof bits, 0);
  return absl::StrFormat("%016x", bits);
}

}  // namespace

Residency& Manager::AddResidency(const ModelSpec& spec, Source source) {
  ResidencyRecord record;
  record.id = deps_.make_id ? deps_.make_id() : NewResidencyId();
  record.sources.push_back(std::move(source));
  record.device = spec.device;
  record.instance = spec.instance;
  record.private_copy = spec.private_copy;
  record.generation = ++last_generation_;
  Residency& residency = registry_.Add(std::make_unique<Residency>(std::move(record)));
  residency.created_time = deps_.clock->WallNow();
  if (IsToBePinned(residency.record())) residency.set_pinned(true);
  Publish(EventType::kResidencyCreated, residency);
  return residency;
}

Residency& Manager::CreateResidency(const ModelSpec& spec, Source source, const Opened& opened) {
  Residency& residency = AddResidency(spec, std::move(source));
  residency.checkpoint = opened;
  residency.keep_host = spec.keep_host && spec.device != kHostDevice;
  MakePlan(residency);
  return residency;
}

// From the host's copy if there is one; by way of one that is made for it if that is wished for;
// else from the files.
void Manager::MakePlan(Residency& residency) {
  const std::string& device = residency.record().device;
  if (device != kHostDevice) {
    Residency* host = HostCopyOf(residency);
    if (host != nullptr && host->state() == State::kReady) return PlanFromHost(residency, *host);
    if (residency.keep_host) {
      if (host == nullptr) {
        host = &CreateResidency({.reference = residency.record().reference()},
                                residency.record().sources.front(), residency.checkpoint);
      }
      host->followers.insert(residency.id());
      return;
    }
  }
  deps_.plan_executor->Post([this, id = residency.id(), opened = residency.checkpoint, device] {
    auto plan = deps_.catalog->Plan(*opened, device);
    strand_.Post([this, id, plan = std::move(plan)] { OnPlanned(id, plan); });
  });
}

Residency* Manager::HostCopyOf(const Residency& residency) {
  return registry_.Current(
      {residency.record().sources.front().content_key, std::string(kHostDevice), ""});
}

// The copy on a GPU is there already, or on its way, and goes on as it is.
void Manager::KeepOnHost(const Residency& residency, const std::string& content_key,
                         const Opened& opened) {
  if (registry_.Current({content_key, std::string(kHostDevice), ""}) != nullptr) return;
  const Source* const source = residency.record().FindSource(content_key);
  CreateResidency({.reference = residency.record().reference()}, *source, opened).wanted = true;
}

void Manager::PlanFromHost(Residency& residency, Residency& host) {
  ++host.readers;
  residency.source_id = host.id();
  const Source* const source =
      host.record().FindSource(residency.record().sources.front().content_key);
  if (source != nullptr) residency.DescribeSource(source->format, source->reference_table);
  deps_.plan_executor->Post([this, id = residency.id(), record = host.record(),
                             memory = host.memory, content = host.content,
                             fingerprint = host.fingerprint, device = residency.record().device] {
    auto source = deps_.catalog->PlanFromHost(record, *memory, content, device);
    strand_.Post([this, id, fingerprint, source = std::move(source)] {
      Residency* const waiting = registry_.Get(id);
      if (waiting == nullptr) return;  // cancelled meanwhile
      if (!source.ok()) return OnPlanned(id, source.status());
      waiting->checkpoint = source->checkpoint;
      // The same tensors: what was looked at of them when they came from their files.
      auto plan = std::make_shared<plan::LoadPlan>(*source->plan);
      plan->fingerprint = *fingerprint;
      OnPlanned(id, Planned(std::move(plan)));
    });
  });
}

void Manager::HostIsReady(Residency& host) {
  for (const std::string& id : std::exchange(host.followers, {})) {
    Residency* const follower = registry_.Get(id);
    if (follower != nullptr) PlanFromHost(*follower, host);
  }
}

// It does not read the host's copy any more, or never will.
void Manager::LeaveSource(Residency& residency) {
  Residency* const host = residency.keep_host ? HostCopyOf(residency) : nullptr;
  if (host != nullptr && host->followers.erase(residency.id()) > 0 && host->WantedByNobody() &&
      host->state() != State::kReady) {
    CancelLoad(*host);
  }
  LeaveReader(registry_.Get(std::exchange(residency.source_id, {})));
}

void Manager::OnPlanned(const std::string& residency_id, absl::StatusOr<Planned> plan) {
  Residency* const residency = registry_.Get(residency_id);
  if (residency == nullptr) return;  // cancelled meanwhile
  if (!plan.ok()) return Fail(*residency, plan.status());
  residency->plan = *plan;
  if (residency->source_id.empty()) {
    residency->DescribeSource((*plan)->format, (*plan)->reference_table);
  }
  residency->fingerprint = std::make_shared<const plan::Fingerprint>((*plan)->fingerprint);
  residency->set_own_bytes((*plan)->resident_bytes());
  residency->tensor_bytes = (*plan)->table->view().tensor_bytes();
  residency->tensor_count = (*plan)->table->view().size();
  if ((*plan)->digests != nullptr && !SetContent(*residency, (*plan)->digests)) return;
  Identify(*residency);
}

// What waits for it fails if it is not back in time.
void Manager::GiveAgentTime(const std::string& device_id) {
  const uint32_t outage = devices_.at(device_id).agent_starts;
  deps_.timer->At(deps_.clock->Now() + kAgentPatience, [this, device_id, outage] {
    strand_.Post([this, device_id, outage] {
      const Device& device = devices_.at(device_id);
      // Not if it was back: a later outage has its own time.
      if (!device.available && device.agent_starts == outage) FailAdmissions(device_id);
    });
  });
}

void Manager::StartLoad(Device& device, Residency& residency) {
  residency.ChangeState(State::kLoading);
  residency.waiting.reset();
  residency.has_news = false;
  Event event;
  event.bytes = residency.own_bytes();
  Publish(EventType::kLoadStarted, residency, std::move(event));
  TellProgress(residency, ProgressOf(residency));
  device.backend->Load(
      {residency.record(), residency.checkpoint, residency.plan, residency.borrowed});
}

void Manager::FailAdmissions(const std::string& device_id) {
  Device& device = devices_.at(device_id);
  const std::deque<std::string> admission = std::exchange(device.admission, {});
  std::vector<std::string> stuck(admission.begin(), admission.end());
  // Nobody is there to digest what these are compared with.
  for (const Residency* residency : registry_.All()) {
    const Residency* const rival = registry_.Get(residency->rival_id);
    if (residency->record().device == device_id && rival != nullptr && rival->content == nullptr) {
      stuck.push_back(residency->id());
    }
  }
  for (const std::string& id : stuck) {
    Residency* const residency = registry_.Get(id);
    if (residency == nullptr) continue;
    Fail(*residency,
         wire::MakeError(wire::Reason::kDeviceUnavailable,
                         absl::StrCat("device ", device_id, " cannot load ",
                                      residency->record().reference(), ": ", device.down_because),
                         {{"device", device_id}}, "see why: modelctl devices"));
  }
}

Progress Manager::ProgressOf(const Residency& residency) const {
  if (residency.waiting) return *residency.waiting;
  if (residency.state() == State::kIdentifying) {
    return {Phase::kIdentifying, 0, residency.tensor_bytes};
  }
  if (residency.state() == State::kLoading) {
    return {Phase::kLoading, residency.loaded_bytes, residency.tensor_bytes};
  }
  return {Phase::kPlanning, 0, residency.tensor_bytes};
}

void Manager::TellProgress(const Residency& residency, const Progress& progress) {
  for (const Ticket ticket : residency.waiters) TellProgressTo(waiters_.at(ticket), progress);
}

}  // namespace modeld::residency
