// Manager: what operators ask.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "residency/manager.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// More would not be read.
constexpr size_t kNamedHolders = 10;

base::WallTime::duration ToWall(base::Duration duration) {
  return std::chrono::duration_cast<base::WallTime::duration>(duration);
}

}  // namespace

// By alias, then by what Registry::Find knows, then by whatever else leads to its content.
void Manager::FindThen(std::string selector, std::function<void(absl::StatusOr<Residency*>)> then) {
  strand_.Post([this, selector = std::move(selector), then = std::move(then)]() mutable {
    if (const auto alias = aliases_.find(selector); alias != aliases_.end()) {
      for (const auto& [id, device] : devices_) {
        Residency* residency = registry_.Current({alias->second.content_key, id, ""});
        if (residency == nullptr && !alias->second.digest.empty()) {
          residency = FindByDigest(alias->second.digest, id, "");
        }
        if (residency != nullptr) return then(residency);
      }
      return then(wire::MakeError(
          wire::Reason::kResidencyNotFound,
          absl::StrCat("alias ", selector, " names ", alias->second.spec.reference,
                       ", which is not resident"),
          {{"selector", selector}}, absl::StrCat("make it resident: modelctl load ", selector)));
    }
    absl::StatusOr<Residency*> found = registry_.Find(selector);
    if (found.ok() || wire::GetReason(found.status()) != wire::Reason::kResidencyNotFound) {
      then(found);
      return;
    }
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

std::string Manager::HoldersOf(const Residency& residency) const {
  std::vector<std::string> holders;
  for (const Ticket ticket : residency.leases) {
    holders.push_back(HolderText(leases_.at(ticket).info.holder));
    if (holders.size() == kNamedHolders && residency.leases.size() > kNamedHolders + 1) {
      holders.push_back(absl::StrCat(residency.leases.size() - kNamedHolders, " more"));
      break;
    }
  }
  return absl::StrJoin(holders, ", ");
}

absl::Status Manager::LeasedError(const Residency& residency) const {
  const std::string holders = HoldersOf(residency);
  return wire::MakeError(
      wire::Reason::kResidencyLeased,
      absl::StrCat("residency ", residency.id(), " (", residency.record().reference(),
                   ") is held by ", holders),
      {{"residency", residency.id()},
       {"lease_count", absl::StrCat(residency.leases.size())},
       {"holders", holders}},
      absl::StrCat("see who holds it: modelctl leases ", residency.id(),
                   "; or ask them to let go: modelctl evict --drain ", residency.id()));
}

std::vector<LeaseInfo> Manager::LeasesOf(const Residency& residency) const {
  std::vector<LeaseInfo> leases;
  for (const Ticket ticket : residency.leases) leases.push_back(leases_.at(ticket).info);
  return leases;
}

// ---- evicting ----

// OK: it may go, or be drained.
absl::Status Manager::WhyNotEvict(const Residency& residency, bool drain) const {
  const std::string name =
      absl::StrCat("residency ", residency.id(), " (", residency.record().reference(), ")");
  const auto refuse = [&](wire::Reason reason, const std::string& what, const std::string& hint) {
    return wire::MakeError(reason, absl::StrCat(name, what), {{"residency", residency.id()}}, hint);
  };
  if (!residency.leases.empty() && !drain) return LeasedError(residency);
  if (residency.pinned()) {
    return refuse(wire::Reason::kResidencyPinned, " is pinned",
                  absl::StrCat("let it go first: modelctl unpin ", residency.id()));
  }
  if (!residency.IsComing() && drain) return absl::OkStatus();
  if (residency.readers > 0) {
    return refuse(wire::Reason::kResidencyLeased, " is being read for another one that is loading",
                  "evict it when that is done: modelctl ps");
  }
  if (!residency.waiters.empty() || !residency.followers.empty()) {
    return refuse(
        wire::Reason::kResidencyLeased,
        absl::StrCat(" is ", std::string(StateName(residency.state())), " and ",
                     residency.waiters.size() + residency.followers.size(), " wait for it"),
        "evict it when it is READY and nobody holds it");
  }
  if (residency.returning_until > deps_.clock->Now()) {
    return refuse(wire::Reason::kResidencyLeased,
                  " was taken over from an earlier modeld, and its holders may still be on their "
                  "way back",
                  "evict it in a few seconds, or let it go when they have had their time: --drain");
  }
  return absl::OkStatus();
}

void Manager::Evict(EvictRequest request, Reply<absl::StatusOr<EvictResult>> reply) {
  std::string selector = request.selector;
  FindThen(std::move(selector), [this, request = std::move(request),
                                 reply = std::move(reply)](absl::StatusOr<Residency*> found) {
    if (!found.ok()) return reply(found.status());
    Residency& residency = **found;
    const absl::Status refusal = WhyNotEvict(residency, request.drain);
    if (!refusal.ok()) return reply(refusal);
    if (request.dry_run) {
      return reply(EvictResult{InfoOf(residency), WouldFree(residency), LeasesOf(residency)});
    }
    StartEviction(residency, request, reply);
  });
}

void Manager::StartEviction(Residency& residency, const EvictRequest& request,
                            Reply<absl::StatusOr<EvictResult>> reply) {
  Eviction eviction = {.id = ++last_ticket_, .reply = std::move(reply), .timer = {}};
  if (request.drain && request.drain_deadline) {
    const auto give_up = [this, id = residency.id(), eviction_id = eviction.id] {
      strand_.Post([this, id, eviction_id] { GiveUpWaiting(id, eviction_id); });
    };
    eviction.timer = deps_.timer->At(*request.drain_deadline, give_up);
  }
  evictions_[residency.id()].push_back(std::move(eviction));
  if (residency.state() == State::kReady) {
    Drain(residency, cause::kOperator, "evicted by an operator");
    Settle(residency);
  } else if (residency.state() != State::kDraining && !residency.cancelling) {
    CancelLoad(residency);
  }
}

// The eviction goes on, whoever asked for it has waited long enough.
void Manager::GiveUpWaiting(const std::string& residency_id, Ticket eviction_id) {
  const auto evictions = evictions_.find(residency_id);
  if (evictions == evictions_.end()) return;
  const auto eviction = std::ranges::find(evictions->second, eviction_id, &Eviction::id);
  if (eviction == evictions->second.end()) return;
  const auto reply = std::move(eviction->reply);
  evictions->second.erase(eviction);
  const Residency* const residency = registry_.Get(residency_id);
  if (residency == nullptr) return;
  const std::string holders = HoldersOf(*residency);
  reply(wire::MakeError(
      wire::Reason::kResidencyLeased,
      absl::StrCat("residency ", residency_id, " (", residency->record().reference(),
                   ") is not handed out any more, and is freed when they let go who still use it: ",
                   holders.empty() ? "another load" : holders),
      {{"residency", residency_id}, {"holders", holders}},
      absl::StrCat("see who holds it: modelctl leases ", residency_id)));
}

// ---- looking ----

void Manager::Find(std::string selector, Reply<absl::StatusOr<ResidencyInfo>> reply) {
  FindThen(std::move(selector), [this, reply = std::move(reply)](absl::StatusOr<Residency*> found) {
    if (!found.ok()) return reply(found.status());
    reply(InfoOf(**found));
  });
}

void Manager::Explain(std::string selector, Reply<absl::StatusOr<Explanation>> reply) {
  FindThen(selector, [this, selector, reply = std::move(reply)](absl::StatusOr<Residency*> found) {
    if (found.ok()) return reply(ExplainFrom(FactsOf(**found)));
    if (wire::GetReason(found.status()) != wire::Reason::kResidencyNotFound) {
      return reply(found.status());
    }
    ResidencyFacts facts = FactsOfEnded(selector);
    if (!facts.residency && facts.events.empty()) return reply(found.status());
    reply(ExplainFrom(std::move(facts)));
  });
}

ResidencyFacts Manager::FactsOf(const Residency& residency) {
  ResidencyFacts facts;
  facts.residency = InfoOf(residency);
  facts.leases = LeasesOf(residency);
  facts.readers = residency.readers;
  AddHistory(residency.id(), residency.record().device, facts);
  return facts;
}

// The last one that fits, as far as it is remembered.
ResidencyFacts Manager::FactsOfEnded(const std::string& selector) {
  ResidencyFacts facts;
  std::string id;
  std::string device_id;
  for (const Event& event : events_.Lasting()) {
    const bool fits = !event.residency_id.empty() &&
                      (event.reference == selector || Abbreviates(selector, event.residency_id));
    if (fits) id = event.residency_id;
    if (fits) device_id = event.device;
  }
  for (const ResidencyInfo& ended : registry_.ended()) {
    if (ended.id == id) facts.residency = ended;
  }
  if (!id.empty()) AddHistory(id, device_id, facts);
  return facts;
}

void Manager::AddHistory(const std::string& residency_id, const std::string& device_id,
                         ResidencyFacts& facts) {
  facts.now = deps_.clock->WallNow();
  facts.events = events_.About(residency_id);
  const auto device = devices_.find(device_id);
  if (device == devices_.end()) return;  // a GPU that is not here any more
  facts.free_bytes = device->second.ledger.free_bytes();
  const base::TimePoint now = deps_.clock->Now();
  std::vector<Candidate> candidates;
  for (const Residency* one : Evictable(device_id, base::TimePoint::max()).residencies) {
    candidates.push_back(CandidateOf(*one));
  }
  for (const Candidate& candidate : EvictionOrder(std::move(candidates), now)) {
    const Residency& residency = *registry_.Get(candidate.id);
    EvictionCandidate& next = facts.eviction_order.emplace_back();
    next.residency_id = candidate.id;
    next.reference = residency.record().reference();
    next.idle_since = facts.now - ToWall(now - candidate.idle_since);
    next.freed_bytes = WouldFree(residency);
    if (candidate.protected_until > now) {
      next.not_before = facts.now + ToWall(candidate.protected_until - now);
    }
  }
}

void Manager::GetSnapshot(const SnapshotParts& parts, Reply<Snapshot> reply) {
  strand_.Post([this, parts, reply = std::move(reply)] {
    Snapshot snapshot;
    snapshot.residency_count = registry_.size();
    snapshot.lease_count = leases_.size();
    if (parts.ended) {
      snapshot.residencies.assign(registry_.ended().begin(), registry_.ended().end());
    }
    if (parts.residencies) {
      for (const Residency* residency : registry_.All()) {
        snapshot.residencies.push_back(InfoOf(*residency));
      }
    }
    if (parts.leases) {
      for (const auto& [ticket, lease] : leases_) snapshot.leases.push_back(lease.info);
    } else if (const Residency* const held = registry_.Get(parts.leases_of)) {
      snapshot.leases = LeasesOf(*held);
    }
    if (parts.devices) {
      for (const auto& [id, device] : devices_) snapshot.devices.push_back(InfoOf(id, device));
    }
    if (parts.aliases) {
      for (const auto& [name, alias] : aliases_) snapshot.aliases.push_back(alias);
    }
    if (parts.pins) snapshot.pins = Pins();
    reply(std::move(snapshot));
  });
}

DeviceInfo Manager::InfoOf(const std::string& id, const Device& device) {
  DeviceInfo info;
  info.id = id;
  info.capacity_bytes = device.ledger.capacity_bytes();
  info.reserved_bytes = device.ledger.reserved_bytes();
  info.resident_bytes = device.ledger.resident_bytes();
  info.evictable_bytes = Evictable(id, base::TimePoint::max()).bytes;
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
  return info;
}

ResidencyInfo Manager::InfoOf(const Residency& residency) const {
  ResidencyInfo info = residency.Info();
  info.aliases = AliasesOf(residency);
  if (const auto expiry = ExpiryOf(residency)) {
    info.expire_time = deps_.clock->WallNow() + ToWall(*expiry - deps_.clock->Now());
  }
  if (residency.memory == nullptr) return info;
  const auto& users = devices_.at(residency.record().device).users;
  for (const BorrowedSegment& borrowed : residency.borrowed) {
    info.shared_bytes += borrowed.used_bytes;
    if (users.at(borrowed.segment->id) == 1) {
      info.stranded_bytes += borrowed.segment->info.size_bytes - borrowed.used_bytes;
    }
  }
  return info;
}

// ---- stopping ----

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
      lease.observer->OnDrainRequested("modeld is stopping", /*stopping=*/true);
    }
  });
}

// For loops whose body may end some of them.
std::vector<std::string> Manager::Ids() {
  std::vector<std::string> ids;
  for (const Residency* residency : registry_.All()) ids.push_back(residency->id());
  return ids;
}

}  // namespace modeld::residency
