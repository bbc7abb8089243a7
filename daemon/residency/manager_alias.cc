// Manager: names for versions, and what of the operator's wishes outlives modeld.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "residency/manager.h"
#include "wire/digest.h"
#include "wire/error.h"

namespace modeld::residency {

// ---- what outlives modeld ----

void Manager::Restore(const DurableState& state) {
  events_.Restore(state.events);
  strand_.Post([this, aliases = state.aliases, pins = state.pins] {
    aliases_ = aliases;
    pins_ = pins;
  });
}

// `then` runs on the strand.
void Manager::Save(StateChange change, std::function<void(absl::Status)> then) {
  if (deps_.state == nullptr) {
    strand_.Post([then = std::move(then)] { then(absl::OkStatus()); });
    return;
  }
  deps_.state->Save(std::move(change), [this, then = std::move(then)](absl::Status status) {
    strand_.Post([then, status = std::move(status)] { then(status); });
  });
}

// For what is in force already.
void Manager::SaveOrSay(StateChange change, const Residency& residency,
                        std::function<void()> then) {
  Event event;
  event.residency_id = residency.id();
  event.reference = residency.record().reference();
  event.device = residency.record().device;
  Save(std::move(change), [this, event, then = std::move(then)](const absl::Status& saved) {
    if (saved.ok() && then) then();
    if (saved.ok()) return;
    Event failed = event;
    failed.type = EventType::kStateNotSaved;
    failed.reason = std::string(wire::ReasonName(wire::GetReason(saved)));
    failed.message = std::string(saved.message());
    events_.Publish(std::move(failed));
  });
}

// ---- acquiring by alias ----

// The waiter wants what the alias of its reference names, if there is such an alias. False: it was
// refused.
bool Manager::FollowAlias(Ticket ticket, Waiter& waiter) {
  const auto found = aliases_.find(waiter.spec.reference);
  if (found == aliases_.end()) return true;
  const Alias& alias = found->second;
  if (!waiter.spec.config.empty() && waiter.spec.config != alias.spec.config) {
    EndWaiter(ticket,
              wire::MakeError(wire::Reason::kFieldInvalid,
                              absl::StrCat("alias ", alias.name, " stands for ",
                                           alias.spec.reference, " in its own load configuration"),
                              {{"field", "spec.load_config"}, {"alias", alias.name}},
                              "leave the load configuration out, or name the checkpoint itself"));
    return false;
  }
  waiter.alias = alias.name;
  waiter.version_key = alias.content_key;
  waiter.version_digest = alias.digest;
  waiter.spec.reference = alias.spec.reference;
  waiter.spec.config = alias.spec.config;
  if (waiter.spec.expected_digest.empty()) waiter.spec.expected_digest = alias.spec.expected_digest;
  if (!waiter.keep_alive) waiter.keep_alive = alias.keep_alive;
  return true;
}

// An alias does not move by itself: what its reference leads to now must be what it was set to.
// False: it is not, and the waiter was refused.
bool Manager::IsTheVersion(Ticket ticket, Waiter& waiter, const plan::OpenCheckpoint& opened) {
  if (waiter.alias.empty() || opened.Key() == waiter.version_key) return true;
  if (!waiter.version_digest.empty()) {
    // Other files, perhaps with the same content.
    if (waiter.spec.expected_digest.empty()) waiter.spec.expected_digest = waiter.version_digest;
    return true;
  }
  EndWaiter(ticket, wire::MakeError(wire::Reason::kCheckpointChanged,
                                    absl::StrCat(waiter.spec.reference, " has changed since alias ",
                                                 waiter.alias, " was set to it"),
                                    {{"reference", waiter.spec.reference}, {"alias", waiter.alias}},
                                    absl::StrCat("take the new version: modelctl alias set ",
                                                 waiter.alias, " ", waiter.spec.reference)));
  return false;
}

// ---- setting ----

Ticket Manager::SetAlias(SetAliasRequest request, std::shared_ptr<AliasObserver> observer) {
  const Ticket ticket = ++last_ticket_;
  strand_.Post(
      [this, ticket, request = std::move(request), observer = std::move(observer)]() mutable {
        Waiter waiter;
        waiter.spec = std::move(request.spec);
        waiter.alias_observer = std::move(observer);
        waiter.alias_to_set = std::move(request.name);
        waiter.alias_keep_alive = request.keep_alive;
        waiter.keep_alive = request.keep_alive;
        waiter.wait_for_room = request.wait_for_room;
        StartWaiter(ticket, std::move(waiter), request.deadline);
        // What it names now is what shall be replaced.
        const auto found = waiters_.find(ticket);
        if (found == waiters_.end()) return;
        Waiter& started = found->second;
        if (started.spec.reference == started.alias_to_set) return ResolveReference(ticket);
        Resolve(ticket);
      });
  return ticket;
}

// The version is READY; it gets the name when that is durable. It is too late to cancel.
void Manager::GiveName(Waiter waiter, Residency& residency) {
  Alias alias;
  alias.name = waiter.alias_to_set;
  alias.spec = waiter.spec;
  alias.keep_alive = waiter.alias_keep_alive;
  alias.content_key = waiter.content_key;
  alias.digest = residency.digest_text();
  alias.set_time = deps_.clock->WallNow();
  ++residency.readers;  // it stays until then
  names_changing_.insert(alias.name);
  Save(residency::SetAlias{alias},
       [this, alias, id = residency.id(),
        observer = std::move(waiter.alias_observer)](const absl::Status& saved) {
         Residency* const version = registry_.Get(id);
         LeaveReader(version);
         names_changing_.extract(alias.name);
         AliasResult result;
         if (saved.ok()) Rename(alias, result);
         LearnDigests();
         if (!saved.ok()) return observer->OnDone(saved);
         result.alias = aliases_.at(alias.name);
         if (version != nullptr) result.residency = InfoOf(*version);
         observer->OnDone(result);
       });
}

void Manager::Rename(const Alias& alias, AliasResult& result) {
  const auto found = aliases_.find(alias.name);
  std::optional<Alias> old;
  if (found != aliases_.end()) old = found->second;
  aliases_[alias.name] = alias;

  Event event;
  event.type = EventType::kAliasSet;
  event.reference = alias.spec.reference;
  event.message = old && old->spec.reference != alias.spec.reference
                      ? absl::StrCat("alias ", alias.name, ", which was ", old->spec.reference)
                      : absl::StrCat("alias ", alias.name);
  events_.Publish(std::move(event));

  for (Residency* residency : registry_.All()) {
    const bool is_new = IsNamed(alias, *residency);
    if (is_new && !residency->record().superseded_by.empty()) {  // it is back
      residency->set_superseded_by("");
      TellRecord(*residency);
    }
    if (!is_new && old && IsNamed(*old, *residency)) {
      Supersede(*residency, alias, result);
    }
  }
}

void Manager::Supersede(Residency& residency, const Alias& alias, AliasResult& result) {
  for (const Ticket ticket : residency.leases) {
    const Lease& lease = leases_.at(ticket);
    if (lease.alias != alias.name) continue;
    lease.observer->OnSuperseded(alias.name, alias.spec.reference);
    ++result.told_holders;
  }
  const ResidencyRecord& record = residency.record();
  if (record.private_copy || !AliasesOf(residency).empty()) return;
  residency.set_superseded_by(alias.name);
  TellRecord(residency);
  Event event;
  event.message = absl::StrCat("alias ", alias.name, " names ", alias.spec.reference, " now");
  Publish(EventType::kResidencySuperseded, residency, std::move(event));
  result.superseded.push_back(InfoOf(residency));
  SettleSoon(residency);
}

// While it is LOADING the agent has none to change: it is told when it is READY.
void Manager::TellRecord(Residency& residency) {
  residency.has_news = residency.memory == nullptr;
  if (residency.has_news) return;
  devices_.at(residency.record().device).backend->UpdateRecord(residency.record());
}

void Manager::RemoveAlias(std::string name, Reply<absl::StatusOr<Alias>> reply) {
  strand_.Post([this, name = std::move(name), reply = std::move(reply)] {
    const auto not_found = [name] {
      return wire::MakeError(wire::Reason::kAliasNotFound,
                             absl::StrCat("there is no alias \"", name, "\""), {{"alias", name}},
                             "see which there are: modelctl alias ls");
    };
    if (!aliases_.contains(name)) return reply(not_found());
    names_changing_.insert(name);
    Save(residency::RemoveAlias{name}, [this, name, not_found, reply](const absl::Status& saved) {
      names_changing_.extract(name);
      if (!saved.ok()) {
        LearnDigests();
        return reply(saved);
      }
      const auto node = aliases_.extract(name);
      if (node.empty()) return reply(not_found());
      Event event;
      event.type = EventType::kAliasRemoved;
      event.reference = node.mapped().spec.reference;
      event.message = absl::StrCat("alias ", name);
      events_.Publish(std::move(event));
      reply(node.mapped());
    });
  });
}

// ---- looking ----

// By its files, or by what they hold.
bool Manager::IsNamed(const Alias& alias, const Residency& residency) {
  return residency.record().FindSource(alias.content_key) != nullptr ||
         (!alias.digest.empty() && residency.content != nullptr &&
          wire::DigestText(residency.content->weights) == alias.digest);
}

std::vector<std::string> Manager::AliasesOf(const Residency& residency) const {
  std::vector<std::string> names;
  if (residency.record().private_copy) return names;
  for (const auto& [name, alias] : aliases_) {
    if (IsNamed(alias, residency)) names.push_back(name);
  }
  return names;
}

// Aliases that were set before the digest was known learn it; not those that are about to change,
// for what is saved last would be the old one.
void Manager::LearnDigests() {
  for (auto& [name, alias] : aliases_) {
    if (!alias.digest.empty() || names_changing_.contains(name)) continue;
    for (const Residency* residency : registry_.All()) {
      if (residency->digests == nullptr ||
          residency->record().FindSource(alias.content_key) == nullptr) {
        continue;
      }
      alias.digest = residency->digest_text();
      SaveOrSay(residency::SetAlias{alias}, *residency);
      break;
    }
  }
}

}  // namespace modeld::residency
