// Manager, second part: from a wish to bytes in memory, and back.

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "residency/manager.h"
#include "residency/policy.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// How long an acquire waits for an agent that is being restarted.
constexpr std::chrono::seconds kAgentPatience{5};
// How long an adopted private copy waits for its holder to come back.
constexpr std::chrono::seconds kPrivatePatience{30};

std::string NewResidencyId() {
  uint64_t bits = 0;
  // Blocks only before the kernel's pool is ready at boot, and does not fail for so few bytes.
  [[maybe_unused]] const ssize_t size = getrandom(&bits, sizeof bits, 0);
  return absl::StrFormat("%016x", bits);
}

}  // namespace

Residency& Manager::AddResidency(const ModelSpec& spec, Source source) {
  ResidencyRecord record;
  record.id = NewResidencyId();
  record.sources.push_back(std::move(source));
  record.device = spec.device;
  record.instance = spec.instance;
  record.private_copy = spec.private_copy;
  record.generation = ++last_generation_;
  Residency& residency = registry_.Add(std::make_unique<Residency>(std::move(record)));
  residency.created_time = deps_.clock->WallNow();
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
      plan->fingerprint = fingerprint;
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
  const std::string source_id = std::exchange(residency.source_id, {});
  Residency* const source = registry_.Get(source_id);
  if (source == nullptr) return;
  --source->readers;
  source->idle_since = deps_.clock->Now();
}

void Manager::OnPlanned(const std::string& residency_id, absl::StatusOr<Planned> plan) {
  Residency* const residency = registry_.Get(residency_id);
  if (residency == nullptr) return;  // cancelled meanwhile
  if (!plan.ok()) return Fail(*residency, plan.status());
  residency->plan = *plan;
  if (residency->source_id.empty()) {
    residency->DescribeSource((*plan)->format, (*plan)->reference_table);
  }
  residency->fingerprint = (*plan)->fingerprint;
  residency->set_own_bytes((*plan)->resident_bytes());
  residency->tensor_bytes = (*plan)->table->view().tensor_bytes();
  residency->tensor_count = (*plan)->table->view().size();
  if ((*plan)->digests != nullptr && !SetContent(*residency, (*plan)->digests)) return;
  Identify(*residency);
}

// It is like nothing that is here, and loads as soon as there is room.
void Manager::Enqueue(Residency& residency) {
  const std::string& device_id = residency.record().device;
  Device& device = devices_.at(device_id);
  device.admission.push_back(residency.id());
  if (!device.available) GiveAgentTime(device_id);
  Admit(device_id);
}

// What waits for it fails if it is not back in time.
void Manager::GiveAgentTime(const std::string& device_id) {
  deps_.timer->At(deps_.clock->Now() + kAgentPatience, [this, device_id] {
    strand_.Post([this, device_id] { FailAdmissionsIfDown(device_id); });
  });
}

// Gives room to those who want it, in order of arrival; whoever is first and has to wait holds up
// the rest, so that small requests cannot starve a large one.
void Manager::Admit(const std::string& device_id) {
  Device& device = devices_.at(device_id);
  while (device.available && !device.admission.empty()) {
    Residency* const residency = registry_.Get(device.admission.front());
    if (residency == nullptr) {  // cancelled meanwhile
      device.admission.pop_front();
      continue;
    }
    const uint64_t needed = residency->own_bytes();
    if (device.ledger.Reserve(needed)) {
      device.admission.pop_front();
      StartLoad(device, *residency);
      continue;
    }
    const uint64_t coming = device.ledger.free_bytes() + device.releasing_bytes;
    if (needed <= coming) {
      TellProgress(*residency, {Phase::kWaiting, device.ledger.free_bytes(), needed});
      return;
    }
    const Idle idle = Evictable(device_id);
    if (needed > coming + idle.bytes) {
      device.admission.pop_front();
      Fail(*residency, BudgetError(device, *residency, idle.bytes));
      continue;
    }
    std::vector<Candidate> candidates;
    for (const Residency* one : idle.residencies) {
      candidates.push_back({one->id(), 0, false, one->idle_since});
    }
    Free(*registry_.Get(*ChooseVictim(candidates)), cause::kRoom,
         absl::StrCat("made room for ", residency->record().reference()));
  }
}

void Manager::StartLoad(Device& device, Residency& residency) {
  residency.ChangeState(State::kLoading);
  Event event;
  event.bytes = residency.own_bytes();
  Publish(EventType::kLoadStarted, residency, std::move(event));
  TellProgress(residency, ProgressOf(residency));
  device.backend->Load(
      {residency.record(), residency.checkpoint, residency.plan, residency.borrowed});
}

void Manager::Fail(Residency& residency, const absl::Status& status) {
  residency.error = status;
  residency.ChangeState(State::kFailed);
  registry_.Retire(residency);
  LeaveSource(residency);
  LeaveRival(residency);
  LeaveLenders(residency);
  Event event;
  event.reason = std::string(wire::ReasonName(wire::GetReason(status)));
  event.message = std::string(status.message());
  Publish(residency.cancelling ? EventType::kLoadCancelled : EventType::kLoadFailed, residency,
          std::move(event));

  const std::set<Ticket> waiters = std::exchange(residency.waiters, {});
  for (const Ticket ticket : waiters) EndWaiter(ticket, status);
  for (const std::string& id : std::exchange(residency.followers, {})) {
    Residency* const follower = registry_.Get(id);
    if (follower != nullptr) Fail(*follower, status);
  }
  AnswerEvictions(residency, 0);
  const std::string id = residency.id();
  registry_.Remove(residency);
  WakeRivals(id);
}

void Manager::AnswerEvictions(const Residency& residency, uint64_t freed_bytes) {
  const auto evictions = evictions_.extract(residency.id());
  if (evictions.empty()) return;
  for (const auto& reply : evictions.mapped()) reply(EvictResult{InfoOf(residency), freed_bytes});
}

void Manager::CancelLoad(Residency& residency) {
  registry_.Retire(residency);
  residency.cancelling = true;
  if (residency.state() == State::kLoading) {
    devices_.at(residency.record().device).backend->CancelLoad(residency.id());
    return;  // the agent answers with OnLoadFailed or OnLoaded
  }
  if (residency.reading_files) {
    devices_.at(std::string(kHostDevice)).backend->CancelLoad(residency.id());
  }
  Fail(residency, wire::MakeError(wire::Reason::kCancelled,
                                  absl::StrCat("nobody waits for ", residency.record().reference(),
                                               " any more")));
}

// REQUIRES: residency is READY, no lease.
void Manager::Free(Residency& residency, std::string_view cause, const std::string& why) {
  Device& device = devices_.at(residency.record().device);
  residency.freeing_bytes = LeaveSegments(device, residency);
  Event event;
  event.cause = cause;
  event.bytes = residency.freeing_bytes;
  event.message = why;
  Publish(EventType::kResidencyDraining, residency, std::move(event));
  residency.ChangeState(State::kDraining);
  registry_.Retire(residency);
  residency.memory.reset();  // modeld's own descriptors; the agent's go with Release
  residency.borrowed.clear();
  device.releasing_bytes += residency.freeing_bytes;
  const std::string id = residency.id();
  device.backend->Release(id);
  WakeRivals(id);
}

// REQUIRES: residency is READY. Its memory is gone, whoever holds it.
void Manager::Lose(Residency& residency, const absl::Status& why) {
  const std::string device_id = residency.record().device;
  const std::string id = residency.id();
  const uint64_t freed = LeaveSegments(devices_.at(device_id), residency);
  residency.error = why;
  residency.ChangeState(State::kLost);
  registry_.Retire(residency);
  Event event;
  event.bytes = freed;
  event.reason = std::string(wire::ReasonName(wire::GetReason(why)));
  event.message = std::string(why.message());
  Publish(EventType::kResidencyLost, residency, std::move(event));
  for (const Ticket ticket : std::exchange(residency.leases, {})) {
    auto node = leases_.extract(ticket);
    const LeaseInfo& info = node.mapped().info;
    Event ended;
    ended.lease_id = ticket;
    ended.reference = info.reference;
    ended.pid = info.holder.pid;
    ended.scope = info.holder.scope;
    ended.cause = cause::kLost;
    Publish(EventType::kLeaseEnded, residency, std::move(ended));
    node.mapped().observer->OnLost(why);
    node.mapped().observer->OnEnded(why);
  }
  for (const Ticket ticket : std::exchange(residency.waiters, {})) EndWaiter(ticket, why);
  AnswerEvictions(residency, 0);
  devices_.at(device_id).ledger.Free(freed);
  registry_.Remove(residency);
  WakeRivals(id);
  Admit(device_id);
}

Manager::Idle Manager::Evictable(const std::string& device_id) {
  const std::map<std::string, int>& users = devices_.at(device_id).users;
  std::vector<Residency*> idle;
  std::map<std::string, int> idle_users;
  for (Residency* residency : registry_.All()) {
    if (residency->record().device != device_id || residency->state() != State::kReady ||
        !residency->IsIdle() || residency->pinned()) {
      continue;
    }
    idle.push_back(residency);
    for (const auto& segment : residency->memory->segments) ++idle_users[segment->id];
  }
  // A segment comes back only when all that use it go.
  const auto comes_back = [&](const std::shared_ptr<const LoadedSegment>& segment) {
    return idle_users.at(segment->id) == users.at(segment->id);
  };
  Idle evictable;
  std::set<std::string> counted;
  for (Residency* residency : idle) {
    const auto& segments = residency->memory->segments;
    if (std::ranges::none_of(segments, comes_back)) continue;
    evictable.residencies.push_back(residency);
    for (const auto& segment : segments) {
      if (comes_back(segment) && counted.insert(segment->id).second) {
        evictable.bytes += segment->info.size_bytes;
      }
    }
  }
  return evictable;
}

void Manager::UseSegments(Device& device, const Residency& residency) {
  for (const auto& segment : residency.memory->segments) ++device.users[segment->id];
}

uint64_t Manager::LeaveSegments(Device& device, const Residency& residency) {
  uint64_t freed = 0;
  for (const auto& segment : residency.memory->segments) {
    const auto users = device.users.find(segment->id);
    if (--users->second > 0) continue;
    device.users.erase(users);
    freed += segment->info.size_bytes;
  }
  return freed;
}

ResidencyInfo Manager::InfoOf(const Residency& residency) const {
  ResidencyInfo info = residency.Info();
  if (residency.state() != State::kReady) return info;
  const auto& users = devices_.at(residency.record().device).users;
  for (const BorrowedSegment& borrowed : residency.borrowed) {
    info.shared_bytes += borrowed.used_bytes;
    if (users.at(borrowed.segment->id) == 1) {
      info.stranded_bytes += borrowed.segment->info.size_bytes - borrowed.used_bytes;
    }
  }
  return info;
}

absl::Status Manager::BudgetError(const Device& device, const Residency& residency,
                                  uint64_t evictable_bytes) const {
  const Ledger& ledger = device.ledger;
  const uint64_t held = ledger.resident_bytes() - device.releasing_bytes - evictable_bytes;
  const std::string& reference = residency.record().reference();
  const std::string numbers = absl::StrCat(
      residency.own_bytes(), " bytes needed, ", ledger.free_bytes(), " free, ", evictable_bytes,
      " evictable, ", held, " held or pinned, ", ledger.reserved_bytes(),
      " reserved by other loads, ", ledger.capacity_bytes(), " capacity");
  const bool never = residency.own_bytes() > ledger.capacity_bytes();
  return wire::MakeError(
      wire::Reason::kBudgetExceeded,
      absl::StrCat(reference, " does not fit on ", residency.record().device, ": ", numbers),
      {{"reference", reference},
       {"device", residency.record().device},
       {"needed_bytes", absl::StrCat(residency.own_bytes())},
       {"free_bytes", absl::StrCat(ledger.free_bytes())},
       {"evictable_bytes", absl::StrCat(evictable_bytes)},
       {"held_bytes", absl::StrCat(held)},
       {"capacity_bytes", absl::StrCat(ledger.capacity_bytes())}},
      !never ? "see who holds what: modelctl leases"
      : residency.record().device == kHostDevice
          ? "give the daemon a larger --host-capacity"
          : "give the daemon a larger gpu_capacity, or load it on a larger GPU: modelctl devices");
}

void Manager::FailAdmissionsIfDown(const std::string& device_id) {
  Device& device = devices_.at(device_id);
  if (device.available) return;
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
  if (residency.state() == State::kIdentifying) {
    return {Phase::kIdentifying, 0, residency.tensor_bytes};
  }
  if (residency.state() == State::kLoading) {
    return {Phase::kLoading, residency.loaded_bytes, residency.tensor_bytes};
  }
  return {Phase::kPlanning, 0, residency.tensor_bytes};
}

void Manager::TellProgress(const Residency& residency, const Progress& progress) {
  for (const Ticket ticket : residency.waiters) {
    const Waiter& waiter = waiters_.at(ticket);
    if (waiter.observer != nullptr) waiter.observer->OnProgress(progress);
    if (waiter.preload != nullptr) waiter.preload->OnProgress(progress);
  }
}

// ---- what agents say ----

void Manager::OnLoadProgress(const std::string& residency_id, uint64_t bytes_done) {
  strand_.Post([this, residency_id, bytes_done] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kLoading) return;
    residency->loaded_bytes = bytes_done;
    TellProgress(*residency, ProgressOf(*residency));
  });
}

void Manager::OnLoaded(const std::string& residency_id,
                       std::shared_ptr<const ResidentMemory> memory, const LoadStats& stats) {
  strand_.Post([this, residency_id, memory = std::move(memory), stats] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kLoading) return;
    Device& device = devices_.at(residency->record().device);
    device.ledger.Commit(residency->own_bytes());
    residency->memory = memory;
    UseSegments(device, *residency);
    residency->loaded_bytes = residency->tensor_bytes;
    residency->ready_time = deps_.clock->WallNow();
    residency->idle_since = deps_.clock->Now();
    residency->ChangeState(State::kReady);
    LeaveSource(*residency);
    LeaveLenders(*residency);
    Event event;
    event.bytes = residency->own_bytes();
    event.message = absl::StrFormat("read %s in %.3f s", stats.read_mode, stats.read_nanos / 1e9);
    Publish(EventType::kResidencyReady, *residency, std::move(event));
    if (residency->cancelling) {  // it was too late to stop it
      Free(*residency, cause::kUnwanted, "nobody waited for it any more");
      return;
    }
    GrantToWaiters(*residency);
    HostIsReady(*residency);
  });
}

// To all but those who expect a digest that is not known yet.
void Manager::GrantToWaiters(Residency& residency) {
  const std::set<Ticket> waiters = residency.waiters;
  for (const Ticket ticket : waiters) {
    const auto expected = CheckExpected(waiters_.at(ticket).spec, residency);
    if (!expected) continue;
    if (expected->ok()) {
      GrantTo(ticket, residency);
    } else {
      EndWaiter(ticket, *expected);
    }
  }
}

void Manager::OnLoadFailed(const std::string& residency_id, absl::Status status) {
  strand_.Post([this, residency_id, status = std::move(status)] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kLoading) return;
    const std::string device_id = residency->record().device;
    devices_.at(device_id).ledger.Cancel(residency->own_bytes());
    Fail(*residency, status);
    Admit(device_id);
  });
}

void Manager::OnDigest(const std::string& residency_id,
                       std::shared_ptr<const ResidentDigests> digests) {
  strand_.Post([this, residency_id, digests = std::move(digests)] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kReady) return;
    residency->digests = digests;
    Event event;
    event.message = residency->digest_text();
    if (residency->content != nullptr && residency->content->weights != digests->content->weights) {
      event.reason = std::string(wire::ReasonName(wire::Reason::kDigestMismatch));
      absl::StrAppend(&event.message, ", and not as it was known before: ",
                      wire::DigestText(residency->content->weights));
    }
    Publish(EventType::kDigestKnown, *residency, std::move(event));
    if (!SetContent(*residency, digests->content)) return;
    RememberContent(*residency);
    for (const Ticket ticket : residency->leases) {
      leases_.at(ticket).observer->OnDigestKnown(residency->digest_text());
    }
    GrantToWaiters(*residency);
    WakeRivals(residency_id);
  });
}

void Manager::OnReleased(const std::string& residency_id, uint64_t unreturned_bytes) {
  strand_.Post([this, residency_id, unreturned_bytes] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kDraining) return;
    const std::string device_id = residency->record().device;
    const uint64_t freed = residency->freeing_bytes;
    Device& device = devices_.at(device_id);
    device.ledger.Free(freed);
    device.releasing_bytes -= freed;
    device.unreturned_bytes = unreturned_bytes;
    residency->ChangeState(State::kEvicted);
    Event event;
    event.bytes = freed;
    if (unreturned_bytes > 0) {
      event.message = absl::StrCat(unreturned_bytes, " bytes are still mapped by somebody");
    }
    Publish(EventType::kResidencyEvicted, *residency, std::move(event));
    AnswerEvictions(*residency, freed);
    registry_.Remove(*residency);
    Admit(device_id);
  });
}

void Manager::OnAgentUp(const std::string& device_id, const AgentInfo& info) {
  strand_.Post([this, device_id, info] {
    Device& device = devices_.at(device_id);
    device.available = true;
    device.agent = info;
    ++device.agent_starts;
    Event event;
    event.type = EventType::kAgentStarted;
    event.device = device_id;
    event.pid = info.pid;
    events_.Publish(std::move(event));
    for (const Residency* residency : registry_.All()) {
      if (residency->record().device != device_id || residency->memory == nullptr) continue;
      device.backend->Adopt(residency->record(), residency->memory, residency->digests);
    }
    if (device_id == kHostDevice) ReadWaitingFiles();
    Admit(device_id);
  });
}

void Manager::OnAgentDown(const std::string& device_id, const absl::Status& why) {
  strand_.Post([this, device_id, why] {
    Device& device = devices_.at(device_id);
    device.down_because = std::string(why.message());
    if (!device.available) return;
    device.available = false;
    GiveAgentTime(device_id);
    Event event;
    event.type = EventType::kAgentDied;
    event.device = device_id;
    event.pid = device.agent.pid;
    event.reason = std::string(wire::ReasonName(wire::GetReason(why)));
    event.message = device.down_because;
    events_.Publish(std::move(event));
    for (const std::string& id : Ids()) {
      Residency* const residency = registry_.Get(id);
      if (residency == nullptr || residency->record().device != device_id ||
          residency->state() != State::kReady) {
        continue;
      }
      const auto& segments = residency->memory->segments;
      const bool dies_with_agent = std::any_of(segments.begin(), segments.end(), [](const auto& s) {
        return s->info.kind == wire::SegmentKind::kCudaIpc;
      });
      if (dies_with_agent) {
        Lose(*residency,
             wire::MakeError(wire::Reason::kDeviceLost,
                             absl::StrCat("the memory of ", residency->record().reference(),
                                          " went with its agent: ", device.down_because),
                             {{"device", device_id}, {"residency", residency->id()}},
                             "acquire it anew; export = \"vmm\" survives this"));
      }
    }
  });
}

void Manager::OnInventory(const ResidencyRecord& record,
                          std::shared_ptr<const ResidentMemory> memory,
                          std::shared_ptr<const ResidentDigests> digests) {
  strand_.Post([this, record, memory = std::move(memory), digests = std::move(digests)] {
    Device& device = devices_.at(record.device);
    if (registry_.Get(record.id) != nullptr) return;
    const bool known =
        std::any_of(record.sources.begin(), record.sources.end(), [&](const Source& source) {
          return registry_.Current({source.content_key, record.device, record.instance}) != nullptr;
        });
    if (!record.private_copy && known) {
      device.backend->Release(record.id);  // a second copy of what is here already
      return;
    }
    auto adopted = std::make_unique<Residency>(record);
    adopted->AdoptAsReady();
    adopted->memory = memory;
    adopted->digests = digests;
    if (digests != nullptr) adopted->content = digests->content;
    adopted->fingerprint = plan::FingerprintOf(memory->table->view(), {});
    adopted->identified = true;
    const std::vector<uint64_t> used = plan::UsedBytes(memory->table->view());
    uint64_t new_bytes = 0;
    for (size_t i = 0; i < memory->segments.size(); ++i) {
      const auto& segment = memory->segments[i];
      if (!device.users.contains(segment->id)) new_bytes += segment->info.size_bytes;
      if (absl::StartsWith(segment->id, absl::StrCat(record.id, "/"))) {
        adopted->set_own_bytes(adopted->own_bytes() + segment->info.size_bytes);
      } else {
        adopted->borrowed.push_back({"", segment, used[i]});
      }
    }
    UseSegments(device, *adopted);
    adopted->tensor_bytes = adopted->loaded_bytes = memory->table->view().tensor_bytes();
    adopted->tensor_count = memory->table->view().size();
    adopted->created_time = deps_.clock->WallNow();
    adopted->ready_time = adopted->released_time = adopted->created_time;
    adopted->idle_since = deps_.clock->Now();
    last_generation_ = std::max(last_generation_, record.generation);
    device.ledger.Adopt(new_bytes);
    const Residency& residency = registry_.Add(std::move(adopted));
    Event event;
    event.bytes = new_bytes;
    Publish(EventType::kResidencyAdopted, residency, std::move(event));

    if (!record.private_copy) return;
    deps_.timer->At(deps_.clock->Now() + kPrivatePatience, [this, id = record.id] {
      strand_.Post([this, id] {
        Residency* const left = registry_.Get(id);
        if (left != nullptr && left->state() == State::kReady && left->leases.empty()) {
          Free(*left, cause::kPrivate, "the holder of the private copy did not come back");
        }
      });
    });
  });
}

}  // namespace modeld::residency
