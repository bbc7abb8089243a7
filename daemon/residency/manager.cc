#include "residency/manager.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// No, for now or for this one; not that something broke.
bool IsRefusal(const absl::Status& status) {
  switch (wire::GetReason(status)) {
    case wire::Reason::kBudgetExceeded:
    case wire::Reason::kDeadlineExceeded:
    case wire::Reason::kDraining:
    case wire::Reason::kPathNotAllowed:
    case wire::Reason::kPeerNotAllowed:
      return true;
    default:
      return false;
  }
}

}  // namespace

Manager::Manager(const ManagerDeps& deps) : deps_(deps), events_(*deps.clock) {}

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
        StartWaiter(ticket, std::move(waiter), request.deadline);
        Resolve(ticket);
      });
  return ticket;
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
  const ModelSpec& spec = found->second.spec;
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
  const bool held = residency != nullptr && residency->memory != nullptr &&
                    residency->record().generation == resume.generation;
  if (held) {
    found->second.result = AcquireResult::kResumed;
    GrantTo(ticket, *residency);
    return;
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
  bool changed = residency.AddReference(waiter.content_key, waiter.spec.reference);
  if (waiter.pin && !residency.pinned()) {
    residency.set_pinned(true);
    changed = true;
    Publish(EventType::kResidencyPinned, residency);
  }
  if (changed && residency.state() == State::kReady) {
    devices_.at(residency.record().device).backend->UpdateRecord(residency.record());
  }
  const auto expected = CheckExpected(waiter.spec, residency);
  if (expected && !expected->ok()) {
    EndWaiter(ticket, *expected);
    if (residency.IsComing() && residency.WantedByNobody()) CancelLoad(residency);
    return;
  }
  if (expected && residency.state() == State::kReady) {
    GrantTo(ticket, residency);
    return;
  }
  if (waiter.no_wait) {
    residency.wanted = true;
    GrantTo(ticket, residency);
    return;
  }
  if (waiter.result == AcquireResult::kHit) waiter.result = AcquireResult::kJoined;
  waiter.residency_id = residency.id();
  residency.waiters.insert(ticket);
  const Progress progress = ProgressOf(residency);
  if (waiter.observer != nullptr) waiter.observer->OnProgress(progress);
  if (waiter.preload != nullptr) waiter.preload->OnProgress(progress);
}

// A preload is answered, an acquire becomes a lease.
void Manager::GrantTo(Ticket ticket, Residency& residency) {
  auto node = waiters_.extract(ticket);
  Waiter& waiter = node.mapped();
  if (waiter.timer) deps_.timer->Cancel(*waiter.timer);
  residency.waiters.erase(ticket);
  if (waiter.preload != nullptr) {
    waiter.preload->OnDone(InfoOf(residency));
    return;
  }
  TellAcquired(waiter, waiter.result);

  Lease& lease = leases_[ticket];
  lease.info.id = ticket;
  lease.info.residency_id = residency.id();
  lease.info.reference = waiter.spec.reference;
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

  Event event;
  event.lease_id = ticket;
  event.reference = lease.info.reference;
  event.pid = lease.info.holder.pid;
  event.scope = lease.info.holder.scope;
  Publish(EventType::kLeaseGranted, residency, std::move(event));
}

void Manager::EndWaiter(Ticket ticket, const absl::Status& status) {
  auto node = waiters_.extract(ticket);
  if (node.empty()) return;
  Waiter& waiter = node.mapped();
  if (waiter.timer) deps_.timer->Cancel(*waiter.timer);
  TellAcquired(waiter, IsRefusal(status) ? AcquireResult::kRefused : AcquireResult::kFailed);
  if (waiter.observer != nullptr) waiter.observer->OnEnded(status);
  if (waiter.preload != nullptr) waiter.preload->OnDone(status);
  LeaveResidency(waiter.residency_id, ticket);
}

void Manager::TellAcquired(const Waiter& waiter, AcquireResult result) {
  if (waiter.observer == nullptr || !deps_.on_acquired) return;
  deps_.on_acquired(result, deps_.clock->Now() - waiter.since);
}

void Manager::LeaveResidency(const std::string& residency_id, Ticket ticket) {
  Residency* const residency = registry_.Get(residency_id);
  if (residency == nullptr || residency->waiters.erase(ticket) == 0) return;
  if (residency->WantedByNobody() && residency->IsComing()) CancelLoad(*residency);
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

  Event event;
  event.lease_id = ticket;
  event.reference = info.reference;
  event.pid = info.holder.pid;
  event.scope = info.holder.scope;
  event.cause = cause;
  Publish(EventType::kLeaseEnded, *residency, std::move(event));
  if (!residency->leases.empty()) return;

  residency->released_time = deps_.clock->WallNow();
  residency->idle_since = deps_.clock->Now();
  // Nobody else could ever get a private copy.
  if (residency->record().private_copy && residency->state() == State::kReady) {
    Free(*residency, cause::kPrivate, "its only holder let go of the private copy");
  }
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

// ---- operators ----

void Manager::FindThen(std::string selector, std::function<void(absl::StatusOr<Residency*>)> then) {
  strand_.Post([this, selector = std::move(selector), then = std::move(then)]() mutable {
    absl::StatusOr<Residency*> found = registry_.Find(selector);
    if (found.ok() || wire::GetReason(found.status()) != wire::Reason::kResidencyNotFound) {
      then(found);
      return;
    }
    // It may be another name for something resident.
    deps_.resolve_executor->Post([this, selector, then = std::move(then), error = found.status()] {
      auto opened =
          selector.empty() ? absl::StatusOr<Opened>(error) : deps_.catalog->Resolve(selector, {});
      strand_.Post([this, opened = std::move(opened), then, error] {
        if (opened.ok()) {
          for (const auto& [id, device] : devices_) {
            Residency* const residency = registry_.Current({(*opened)->Key(), id, ""});
            if (residency != nullptr) return then(residency);
          }
        }
        then(error);
      });
    });
  });
}

absl::Status Manager::LeasedError(const Residency& residency) const {
  std::vector<std::string> holders;
  for (const Ticket ticket : residency.leases) {
    const LeaseInfo& info = leases_.at(ticket).info;
    holders.push_back(absl::StrCat("pid ", info.holder.pid, " (", info.holder.program,
                                   info.holder.scope.empty() ? "" : ", ", info.holder.scope, ")"));
    if (holders.size() == 10 && residency.leases.size() > 11) {
      holders.push_back(absl::StrCat(residency.leases.size() - 10, " more"));
      break;
    }
  }
  const std::string text = absl::StrJoin(holders, ", ");
  return wire::MakeError(wire::Reason::kResidencyLeased,
                         absl::StrCat("residency ", residency.id(), " (",
                                      residency.record().reference(), ") is held by ", text),
                         {{"residency", residency.id()},
                          {"lease_count", absl::StrCat(residency.leases.size())},
                          {"holders", text}},
                         absl::StrCat("see who holds it: modelctl leases ", residency.id()));
}

void Manager::Evict(std::string selector, Reply<absl::StatusOr<EvictResult>> reply) {
  FindThen(std::move(selector), [this, reply = std::move(reply)](absl::StatusOr<Residency*> found) {
    if (!found.ok()) return reply(found.status());
    Residency& residency = **found;
    if (!residency.leases.empty()) return reply(LeasedError(residency));
    if (residency.pinned()) {
      return reply(
          wire::MakeError(wire::Reason::kResidencyPinned,
                          absl::StrCat("residency ", residency.id(), " (",
                                       residency.record().reference(), ") is pinned"),
                          {{"residency", residency.id()}},
                          absl::StrCat("let it go first: modelctl unpin ", residency.id())));
    }
    if (residency.readers > 0) {
      return reply(wire::MakeError(
          wire::Reason::kResidencyLeased,
          absl::StrCat("residency ", residency.id(), " (", residency.record().reference(),
                       ") is being read for another one that is loading"),
          {{"residency", residency.id()}}, "evict it when that is done: modelctl ps"));
    }
    if (!residency.waiters.empty() || !residency.followers.empty()) {
      return reply(wire::MakeError(
          wire::Reason::kResidencyLeased,
          absl::StrCat("residency ", residency.id(), " (", residency.record().reference(), ") is ",
                       std::string(StateName(residency.state())), " and ",
                       residency.waiters.size() + residency.followers.size(), " wait for it"),
          {{"residency", residency.id()}}, "evict it when it is READY and nobody holds it"));
    }
    evictions_[residency.id()].push_back(reply);
    if (residency.state() == State::kReady) {
      Free(residency, cause::kOperator, "evicted by an operator");
    } else if (residency.state() != State::kDraining && !residency.cancelling) {
      CancelLoad(residency);
    }
  });
}

void Manager::SetPinned(std::string selector, bool pinned,
                        Reply<absl::StatusOr<ResidencyInfo>> reply) {
  FindThen(std::move(selector), [this, pinned,
                                 reply = std::move(reply)](absl::StatusOr<Residency*> found) {
    if (!found.ok()) return reply(found.status());
    Residency& residency = **found;
    if (residency.pinned() != pinned) {
      residency.set_pinned(pinned);
      Publish(pinned ? EventType::kResidencyPinned : EventType::kResidencyUnpinned, residency);
      if (residency.state() == State::kReady) {
        devices_.at(residency.record().device).backend->UpdateRecord(residency.record());
      }
    }
    reply(InfoOf(residency));
  });
}

void Manager::Find(std::string selector, Reply<absl::StatusOr<ResidencyInfo>> reply) {
  FindThen(std::move(selector), [this, reply = std::move(reply)](absl::StatusOr<Residency*> found) {
    if (!found.ok()) return reply(found.status());
    reply(InfoOf(**found));
  });
}

void Manager::GetSnapshot(bool include_ended, Reply<Snapshot> reply) {
  strand_.Post([this, include_ended, reply = std::move(reply)] {
    Snapshot snapshot;
    if (include_ended) {
      snapshot.residencies.assign(registry_.ended().begin(), registry_.ended().end());
    }
    for (const Residency* residency : registry_.All()) {
      snapshot.residencies.push_back(InfoOf(*residency));
    }
    for (const auto& [ticket, lease] : leases_) snapshot.leases.push_back(lease.info);
    for (const auto& [id, device] : devices_) {
      DeviceInfo info;
      info.id = id;
      info.capacity_bytes = device.ledger.capacity_bytes();
      info.reserved_bytes = device.ledger.reserved_bytes();
      info.resident_bytes = device.ledger.resident_bytes();
      info.evictable_bytes = Evictable(id).bytes;
      info.export_kind = device.agent.export_kind;
      info.export_note = device.agent.export_note;
      info.facts = device.facts;
      info.page_size_bytes = device.agent.page_size_bytes;
      info.page_size_note = device.agent.page_size_note;
      info.available = device.available;
      info.agent_pid = device.available ? device.agent.pid : 0;
      info.agent_starts = device.agent_starts;
      if (!device.available) info.notes.push_back(device.down_because);
      if (device.unreturned_bytes > 0) {
        info.notes.push_back(absl::StrCat(
            device.unreturned_bytes,
            " bytes of an evicted residency are not free yet: a process that is no holder any more "
            "still maps them (nvidia-smi lists the processes)"));
      }
      snapshot.devices.push_back(std::move(info));
    }
    reply(std::move(snapshot));
  });
}

void Manager::BeginShutdown() {
  strand_.Post([this] {
    if (stopping_) return;
    stopping_ = true;
    Event stopping;
    stopping.type = EventType::kDaemonStopping;
    events_.Publish(std::move(stopping));

    std::vector<Ticket> waiting;
    for (const auto& [ticket, waiter] : waiters_) waiting.push_back(ticket);
    for (const Ticket ticket : waiting) {
      EndWaiter(ticket, wire::MakeError(wire::Reason::kDraining, "modeld is stopping", {},
                                        "ask again when it is back: modelctl health"));
    }
    for (const std::string& id : Ids()) {
      Residency* const residency = registry_.Get(id);
      if (residency != nullptr && residency->IsComing() && !residency->cancelling) {
        CancelLoad(*residency);
      }
    }
    for (const auto& [ticket, lease] : leases_) {
      lease.observer->OnDrainRequested("modeld is stopping");
    }
  });
}

// For loops whose body may end some of them.
std::vector<std::string> Manager::Ids() {
  std::vector<std::string> ids;
  for (const Residency* residency : registry_.All()) ids.push_back(residency->id());
  return ids;
}

void Manager::Publish(EventType type, const Residency& residency, Event event) {
  event.type = type;
  event.residency_id = residency.id();
  if (event.reference.empty()) event.reference = residency.record().reference();
  event.device = residency.record().device;
  events_.Publish(std::move(event));
}

}  // namespace modeld::residency
