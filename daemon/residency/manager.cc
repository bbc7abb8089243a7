#include "residency/manager.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// No, for now or for this one; not that something broke.
bool IsRefusal(const absl::Status& status) {
  switch (wire::GetReason(status)) {
    case wire::Reason::kBudgetExceeded:
    case wire::Reason::kDeadlineExceeded:
    case wire::Reason::kDraining:
    case wire::Reason::kLimitReached:
    case wire::Reason::kPathNotAllowed:
    case wire::Reason::kPeerNotAllowed:
      return true;
    default:
      return false;
  }
}

}  // namespace

Manager::Manager(const ManagerDeps& deps)
    : deps_(deps), events_(*deps.clock), policy_(deps.policy) {}

void Manager::AddDevice(const std::string& id, uint64_t capacity_bytes, DeviceBackend* backend,
                        DeviceFacts facts) {
  Device& device = devices_.emplace(id, Device(capacity_bytes)).first->second;
  device.backend = backend;
  device.facts = std::move(facts);
  device.down_because = "its agent has not started yet";
}

// ---- waiting ----

Ticket Manager::Acquire(AcquireRequest request, std::shared_ptr<AcquireObserver> observer) {
  const Ticket ticket = ++last_ticket_;
  strand_.Post(
      [this, ticket, request = std::move(request), observer = std::move(observer)]() mutable {
        Waiter waiter;
        waiter.spec = std::move(request.spec);
        waiter.holder = std::move(request.holder);
        waiter.observer = std::move(observer);
        waiter.wait_for_room = request.wait_for_room;
        waiter.keep_alive = request.keep_alive;
        StartWaiter(ticket, std::move(waiter), request.deadline);
        if (request.resume) {
          Resume(ticket, *request.resume);
        } else {
          Resolve(ticket);
        }
      });
  return ticket;
}

Ticket Manager::Preload(PreloadRequest request, std::shared_ptr<PreloadObserver> observer) {
  const Ticket ticket = ++last_ticket_;
  strand_.Post(
      [this, ticket, request = std::move(request), observer = std::move(observer)]() mutable {
        Waiter waiter;
        waiter.spec = std::move(request.spec);
        waiter.preload = std::move(observer);
        waiter.no_wait = request.no_wait;
        waiter.pin = request.pin;
        waiter.wait_for_room = request.wait_for_room;
        waiter.keep_alive = request.keep_alive;
        StartWaiter(ticket, std::move(waiter), request.deadline);
        Resolve(ticket);
      });
  return ticket;
}

void Manager::SetPolicy(const Policy& policy) {
  strand_.Post([this, policy] {
    policy_ = policy;
    for (const std::string& id : Ids()) {
      Residency* const residency = registry_.Get(id);
      if (residency != nullptr) Settle(*residency);
    }
  });
}

void Manager::StartWaiter(Ticket ticket, Waiter waiter, std::optional<base::TimePoint> deadline) {
  const std::string device_id = waiter.spec.device;
  waiter.since = deps_.clock->Now();
  waiters_.emplace(ticket, std::move(waiter));
  if (stopping_) {
    EndWaiter(ticket, wire::MakeError(wire::Reason::kDraining, "modeld is stopping", {},
                                      "ask again when it is back: modelctl health"));
    return;
  }
  if (!devices_.contains(device_id)) {
    EndWaiter(ticket,
              wire::MakeError(wire::Reason::kDeviceUnavailable,
                              absl::StrCat("there is no device \"", device_id, "\""),
                              {{"device", device_id}}, "see which there are: modelctl devices"));
    return;
  }
  if (deadline) {
    waiters_.at(ticket).timer = deps_.timer->At(
        *deadline, [this, ticket] { strand_.Post([this, ticket] { OnDeadline(ticket); }); });
  }
}

void Manager::Resolve(Ticket ticket) {
  const auto found = waiters_.find(ticket);
  if (found == waiters_.end()) return;  // refused already
  Waiter& waiter = found->second;
  if (!FollowAlias(ticket, waiter)) return;
  // What the name stands for needs no looking up while it is here.
  if (!waiter.alias.empty() && !waiter.spec.private_copy && !waiter.spec.keep_host) {
    Residency* const version =
        registry_.Current({waiter.version_key, waiter.spec.device, waiter.spec.instance});
    if (version != nullptr) {
      waiter.content_key = waiter.version_key;
      return Join(ticket, waiter, *version);
    }
  }
  ResolveReference(ticket);
}

void Manager::ResolveReference(Ticket ticket) {
  const ModelSpec& spec = waiters_.at(ticket).spec;
  if (spec.reference.starts_with(kDigestScheme)) return AcquireByDigest(ticket);
  deps_.resolve_executor->Post([this, ticket, reference = spec.reference, config = spec.config] {
    auto opened = deps_.catalog->Resolve(reference, config);
    strand_.Post([this, ticket, opened = std::move(opened)] { OnResolved(ticket, opened); });
  });
}

void Manager::Resume(Ticket ticket, const ResumeRequest& resume) {
  const auto found = waiters_.find(ticket);
  if (found == waiters_.end()) return;
  Residency* const residency = registry_.Get(resume.residency_id);
  if (residency != nullptr && residency->record().generation == resume.generation) {
    Waiter& waiter = found->second;
    if (aliases_.contains(waiter.spec.reference)) waiter.alias = waiter.spec.reference;
    if (residency->IsComing() && !residency->cancelling) return Join(ticket, waiter, *residency);
    if (residency->memory != nullptr) {
      waiter.result = AcquireResult::kResumed;
      GrantTo(ticket, *residency);
      return;
    }
  }
  EndWaiter(ticket,
            wire::MakeError(wire::Reason::kResidencyNotFound,
                            absl::StrCat("residency ", resume.residency_id, " of ",
                                         found->second.spec.reference, " is not here any more"),
                            {{"residency", resume.residency_id}}, "acquire the model anew"));
}

void Manager::OnResolved(Ticket ticket, absl::StatusOr<Opened> opened) {
  const auto found = waiters_.find(ticket);
  if (found == waiters_.end()) return;  // it gave up meanwhile
  if (!opened.ok()) {
    EndWaiter(ticket, opened.status());
    return;
  }
  Waiter& waiter = found->second;
  if (!IsTheVersion(ticket, waiter, **opened)) return;
  Residency* residency = nullptr;
  if (!waiter.spec.private_copy) {
    residency = registry_.Current({(*opened)->Key(), waiter.spec.device, waiter.spec.instance});
  }
  waiter.content_key = (*opened)->Key();
  if (residency == nullptr) {
    waiter.result = AcquireResult::kLoaded;
    Source source{.content_key = waiter.content_key,
                  .format = {},
                  .references = {waiter.spec.reference},
                  .reference_table = nullptr,
                  .settled = (*opened)->settled};
    residency = &CreateResidency(waiter.spec, std::move(source), *opened);
  } else if (waiter.spec.keep_host && waiter.spec.device != kHostDevice) {
    KeepOnHost(*residency, waiter.content_key, *opened);
  }
  Join(ticket, waiter, *residency);
}

void Manager::Join(Ticket ticket, Waiter& waiter, Residency& residency) {
  const auto expected = CheckExpected(waiter.spec, residency);
  if (expected && !expected->ok()) {
    EndWaiter(ticket, *expected);
    if (residency.IsComing() && residency.WantedByNobody()) CancelLoad(residency);
    return;
  }
  TakeWishes(waiter, residency);
  if (expected && residency.state() == State::kReady) {
    GrantTo(ticket, residency);
    return;
  }
  if (waiter.no_wait) {
    residency.wanted = true;
    residency.patient = waiter.wait_for_room;
    GrantTo(ticket, residency);
    return;
  }
  if (waiter.result == AcquireResult::kHit) waiter.result = AcquireResult::kJoined;
  waiter.residency_id = residency.id();
  residency.waiters.insert(ticket);
  TellProgressTo(waiter, ProgressOf(residency));
  if (residency.waiting && !waiter.wait_for_room) Reconsider(residency.record().device);
}

// What the one who joins wants of the residency.
void Manager::TakeWishes(const Waiter& waiter, Residency& residency) {
  bool changed = residency.AddReference(waiter.content_key, waiter.spec.reference);
  if (waiter.keep_alive && residency.record().keep_alive != waiter.keep_alive) {
    residency.set_keep_alive(*waiter.keep_alive);
    changed = true;
  }
  if (waiter.pin && !residency.pinned()) {
    const SetPin pin = PinOf(residency);
    if (!residency.record().private_copy) SavePin(residency, pin);
    PinNow(residency, pin, true);
  } else if (changed) {
    TellRecord(residency);
  }
}

void Manager::TellProgressTo(const Waiter& waiter, const Progress& progress) {
  if (waiter.observer != nullptr) waiter.observer->OnProgress(progress);
  if (waiter.preload != nullptr) waiter.preload->OnProgress(progress);
  if (waiter.alias_observer != nullptr) waiter.alias_observer->OnProgress(progress);
}

// A preload is answered, a version gets its name, an acquire becomes a lease.
void Manager::GrantTo(Ticket ticket, Residency& residency) {
  auto node = waiters_.extract(ticket);
  Waiter& waiter = node.mapped();
  if (waiter.timer) deps_.timer->Cancel(*waiter.timer);
  residency.waiters.erase(ticket);
  if (waiter.preload != nullptr) {
    waiter.preload->OnDone(InfoOf(residency));
    SettleSoon(residency);
    return;
  }
  if (waiter.alias_observer != nullptr) return GiveName(std::move(waiter), residency);
  TellAcquired(waiter, waiter.result);

  Lease& lease = leases_[ticket];
  lease.info.id = ticket;
  lease.info.residency_id = residency.id();
  lease.info.reference = waiter.alias.empty() ? waiter.spec.reference : waiter.alias;
  lease.alias = waiter.alias;
  lease.info.holder = std::move(waiter.holder);
  lease.info.granted_time = deps_.clock->WallNow();
  lease.observer = std::move(waiter.observer);
  const Source* const source = residency.record().FindSource(waiter.content_key);
  lease.reference_table =
      (source != nullptr ? *source : residency.record().sources.front()).reference_table;
  residency.leases.insert(ticket);

  Grant grant;
  grant.lease_id = ticket;
  grant.residency_id = residency.id();
  grant.generation = residency.record().generation;
  grant.digest = residency.digest_text();
  grant.device = residency.record().device;
  for (const auto& segment : residency.memory->segments) grant.segments.push_back(segment->info);
  grant.table_size_bytes = residency.memory->table->size_bytes();
  if (lease.reference_table != nullptr) {
    grant.reference_table_size_bytes = lease.reference_table->size_bytes();
  }
  grant.tensor_bytes = residency.tensor_bytes;
  grant.format = (source != nullptr ? *source : residency.record().sources.front()).format;
  lease.observer->OnGranted(grant);
  TellWhatPassed(lease, residency);
  Publish(EventType::kLeaseGranted, residency, EventOf(lease.info));
}

// While it waited, or was away.
void Manager::TellWhatPassed(const Lease& lease, const Residency& residency) {
  const auto alias = aliases_.find(lease.alias);
  if (alias != aliases_.end() && !IsNamed(alias->second, residency)) {
    lease.observer->OnSuperseded(lease.alias, alias->second.spec.reference);
  }
  if (residency.IsLeaving()) {
    lease.observer->OnDrainRequested(absl::StrCat("residency ", residency.id(), " is wanted back"),
                                     /*stopping=*/false);
  }
}

void Manager::EndWaiter(Ticket ticket, const absl::Status& status) {
  auto node = waiters_.extract(ticket);
  if (node.empty()) return;
  Waiter& waiter = node.mapped();
  if (waiter.timer) deps_.timer->Cancel(*waiter.timer);
  TellAcquired(waiter, IsRefusal(status) ? AcquireResult::kRefused : AcquireResult::kFailed);
  if (waiter.observer != nullptr) waiter.observer->OnEnded(status);
  if (waiter.preload != nullptr) waiter.preload->OnDone(status);
  if (waiter.alias_observer != nullptr) waiter.alias_observer->OnDone(status);
  LeaveResidency(waiter.residency_id, ticket);
}

void Manager::TellAcquired(const Waiter& waiter, AcquireResult result) {
  if (waiter.observer == nullptr || !deps_.on_acquired) return;
  deps_.on_acquired(result, deps_.clock->Now() - waiter.since);
}

void Manager::LeaveResidency(const std::string& residency_id, Ticket ticket) {
  Residency* const residency = registry_.Get(residency_id);
  if (residency == nullptr || residency->waiters.erase(ticket) == 0) return;
  if (residency->WantedByNobody() && residency->IsComing()) return CancelLoad(*residency);
  // Of those who are left, perhaps nobody wants to wait for room.
  if (residency->waiting) Reconsider(residency->record().device);
  SettleSoon(*residency);
}

void Manager::OnDeadline(Ticket ticket) {
  const auto found = waiters_.find(ticket);
  if (found == waiters_.end()) return;
  found->second.timer.reset();
  const Residency* const residency = registry_.Get(found->second.residency_id);
  const std::string reference = found->second.spec.reference;
  const std::string where =
      residency == nullptr
          ? "its reference was still being resolved"
          : absl::StrCat("it was ", std::string(StateName(residency->state())), " with ",
                         residency->loaded_bytes, " of ", residency->tensor_bytes, " bytes read");
  EndWaiter(ticket,
            wire::MakeError(wire::Reason::kDeadlineExceeded,
                            absl::StrCat("waited as long as asked for ", reference, ": ", where),
                            {{"reference", reference}},
                            "wait longer, or make it resident first: modelctl load"));
}

// ---- leases ----

void Manager::Release(Ticket ticket, bool holder_died) {
  strand_.Post([this, ticket, holder_died] {
    auto node = waiters_.extract(ticket);
    if (node.empty()) {
      EndLease(ticket, holder_died ? cause::kDied
                       : stopping_ ? cause::kStopping
                                   : cause::kReleased);
      return;
    }
    TellAcquired(node.mapped(), AcquireResult::kCancelled);
    if (node.mapped().timer) deps_.timer->Cancel(*node.mapped().timer);
    LeaveResidency(node.mapped().residency_id, ticket);
  });
}

void Manager::EndLease(Ticket ticket, std::string_view cause) {
  auto node = leases_.extract(ticket);
  if (node.empty()) return;
  const LeaseInfo& info = node.mapped().info;
  Residency* const residency = registry_.Get(info.residency_id);
  if (residency == nullptr) return;  // it was lost under the lease
  residency->leases.erase(ticket);

  Event event = EventOf(info);
  event.cause = cause;
  Publish(EventType::kLeaseEnded, *residency, std::move(event));
  if (!residency->leases.empty()) return;

  residency->released_time = deps_.clock->WallNow();
  residency->idle_since = deps_.clock->Now();
  // Nobody else could ever get a private copy.
  if (residency->record().private_copy && residency->state() == State::kReady) {
    return Free(*residency, cause::kPrivate, "its only holder let go of the private copy");
  }
  Settle(*residency);
}

Event Manager::EventOf(const LeaseInfo& lease) {
  Event event;
  event.lease_id = lease.id;
  event.reference = lease.reference;
  event.pid = lease.holder.pid;
  event.scope = lease.holder.scope;
  return event;
}

void Manager::GetLeaseMemory(uint64_t session, uint64_t lease_id,
                             Reply<absl::StatusOr<LeaseMemory>> reply) {
  strand_.Post([this, session, lease_id, reply = std::move(reply)] {
    const auto found = leases_.find(lease_id);
    // The same words for another's lease and for none: nothing is learnt by guessing.
    if (found == leases_.end() || found->second.info.holder.session != session) {
      reply(wire::MakeError(wire::Reason::kResidencyNotFound,
                            absl::StrCat("this session holds no lease ", lease_id)));
      return;
    }
    const Residency* const residency = registry_.Get(found->second.info.residency_id);
    if (residency == nullptr) {
      reply(wire::MakeError(wire::Reason::kDeviceLost,
                            absl::StrCat("the memory of lease ", lease_id, " is lost")));
      return;
    }
    reply(LeaseMemory{residency->memory, found->second.reference_table, residency->digests});
  });
}

void Manager::Publish(EventType type, const Residency& residency, Event event) {
  event.type = type;
  event.residency_id = residency.id();
  if (event.reference.empty()) event.reference = residency.record().reference();
  event.device = residency.record().device;
  events_.Publish(std::move(event));
}

}  // namespace modeld::residency
