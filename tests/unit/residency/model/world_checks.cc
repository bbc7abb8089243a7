// World: what must hold, whatever happens.

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/error.h"
#include "world.h"

namespace modeld::residency::model {
namespace {

// A snapshot costs as much as many steps.
constexpr uint64_t kStepsPerSnapshot = 8;

base::TimePoint ToSteady(base::WallTime time) {
  return base::TimePoint(std::chrono::duration_cast<base::Duration>(time.time_since_epoch()));
}

}  // namespace

bool World::IsLeased(const std::string& residency_id) const {
  return std::ranges::any_of(workers_, [&](const auto& worker) {
    return worker->IsHolding() && worker->grant->residency_id == residency_id;
  });
}

const ModelBackend::Held* World::FindHeld(const std::string& residency_id) {
  for (ModelBackend& backend : backends_) {
    if (const auto* held = backend.Find(residency_id)) return held;
  }
  return nullptr;
}

Snapshot World::TakeSnapshot() {
  Snapshot taken;
  manager_->GetSnapshot(SnapshotParts::All(),
                        [&](Snapshot snapshot) { taken = std::move(snapshot); });
  return taken;
}

std::optional<bool> World::IsNamedBy(const ModelBackend::Held& held, const Alias& alias) const {
  if (held.record.FindSource(alias.content_key) != nullptr) return true;
  const std::string& word = backends_[0].WordOf(held.record);
  if (catalog_.WordOfKey(alias.content_key) != word) return false;
  // The same, if both digests are known: what the alias has learnt may not be saved yet.
  return std::nullopt;
}

// ---- as it happens ----

// Is what the worker was given what it asked for?
bool World::MayHold(const Worker& worker, const std::string& word) const {
  const ModelSpec& spec = worker.spec;
  if (!spec.expected_digest.empty() && spec.expected_digest != DigestTextOf(word)) return false;
  if (spec.reference.starts_with(kDigestScheme)) return spec.reference == DigestTextOf(word);
  // What an alias named when it was asked for, is not written down.
  if (worker.since == 0) return true;
  return catalog_.HasHeld(ModelCatalog::NameOf(spec.reference), worker.since, word);
}

void World::OnGranted(Worker& worker) {
  const Grant& grant = *worker.grant;
  journal_.Add(absl::StrCat(worker.name, " holds ", grant.residency_id));
  const ModelBackend::Held* const held = BackendOf(worker.spec.device).Find(grant.residency_id);
  if (held == nullptr) {
    return journal_.Broken(absl::StrCat(worker.name, " is granted what is not there"));
  }
  const ResidencyRecord& record = held->record;
  const std::string& word = backends_[0].WordOf(record);
  if (!worker.request.resume && !MayHold(worker, word)) {
    journal_.Broken(
        absl::StrCat(worker.name, " asked for ", worker.spec.reference, " and got ", word));
  }
  if (record.instance != worker.spec.instance || record.private_copy != worker.spec.private_copy) {
    journal_.Broken(absl::StrCat(worker.name, " is granted another one's"));
  }
  if (record.private_copy && !worker.request.resume && record.generation > 0 &&
      std::ranges::any_of(workers_, [&](const auto& other) {
        return other.get() != &worker && other->IsHolding() &&
               other->grant->residency_id == grant.residency_id;
      })) {
    journal_.Broken(absl::StrCat(worker.name, " is granted a private copy"));
  }
  if (!grant.digest.empty() && grant.digest != DigestTextOf(word)) {
    journal_.Broken(absl::StrCat(worker.name, " is told a wrong digest"));
  }
  if (record.draining && !worker.request.resume) {
    journal_.Broken(absl::StrCat(worker.name, " is granted what is going"));
  }
  const auto alias = aliases_.find(worker.spec.reference);
  if (alias == aliases_.end()) return;
  const auto named = IsNamedBy(*held, alias->second);
  worker.expected_superseded = !named ? -1 : *named ? 0 : 1;
}

// The oldest change comes to its end; an alias that is set supersedes then, and not before.
void World::Save(const absl::Status& status) {
  const StateChange change = store_.next();
  const auto* const set = std::get_if<residency::SetAlias>(&change);
  const auto* const removed = std::get_if<residency::RemoveAlias>(&change);
  if (const auto* pin = std::get_if<SetPin>(&change)) {
    journal_.Add(absl::StrCat("pin ", catalog_.WordOfKey(pin->key.content)));
  }
  if (const auto* pin = std::get_if<RemovePin>(&change)) {
    journal_.Add(absl::StrCat("no pin ", catalog_.WordOfKey(pin->key.content)));
  }
  if (!status.ok()) journal_.Add("failed");
  if (set != nullptr && status.ok()) {
    const Alias& alias = set->alias;
    journal_.Add(absl::StrCat(alias.name, " = ", alias.spec.reference));
    const auto old = aliases_.find(alias.name);
    for (const auto& worker : workers_) {
      if (!worker->IsHolding() || worker->spec.reference != alias.name || old == aliases_.end()) {
        continue;
      }
      const ModelBackend::Held* const held = FindHeld(worker->grant->residency_id);
      if (held == nullptr) continue;
      const auto is_new = IsNamedBy(*held, alias);
      const auto is_old = IsNamedBy(*held, old->second);
      if (!is_new || !is_old || worker->expected_superseded < 0) {
        worker->expected_superseded = -1;
      } else if (!*is_new && *is_old) {
        ++worker->expected_superseded;
      }
    }
    aliases_[alias.name] = alias;
  }
  if (removed != nullptr && status.ok()) aliases_.erase(removed->name);
  store_.Finish(status);
}

void World::OnEvent(const Event& event) {
  if (event.type == EventType::kResidencyAdopted) return BackendOf(event.device).NoteAdopted();
  if (event.type == EventType::kLoadStarted) {
    // Whoever is told to wait for room is the first in the queue.
    for (const auto& worker : workers_) {
      if (!worker->IsWaiting() || worker->spec.device != event.device || !worker->last_progress ||
          worker->last_progress->phase != Phase::kWaiting) {
        continue;
      }
      for (const auto& load : BackendOf(event.device).loads()) {
        if (load.job.record.id != event.residency_id) continue;
        journal_.Broken(absl::StrCat(event.residency_id, " has overtaken ", worker->name));
      }
    }
    return;
  }
  if (event.type != EventType::kResidencyDraining) return;
  const ModelBackend::Held* const held = BackendOf(event.device).Find(event.residency_id);
  if (held == nullptr) return journal_.Broken(absl::StrCat(event.residency_id, " is not there"));
  const base::TimePoint now = clock_->Now();
  if (event.cause == cause::kRoom && now < held->protected_until) {
    journal_.Broken(absl::StrCat(event.residency_id, " goes for room although it is protected"));
  }
  const bool goes_by_itself = event.cause == cause::kExpired || event.cause == cause::kSuperseded;
  if ((event.cause == cause::kRoom || goes_by_itself) && held->record.pinned) {
    journal_.Broken(absl::StrCat(event.residency_id, " goes although it is pinned"));
  }
  if (event.cause == cause::kSuperseded && held->record.superseded_by.empty()) {
    journal_.Broken(absl::StrCat(event.residency_id, " is superseded by nothing"));
  }
  if (event.cause == cause::kExpired) {
    const base::Duration keep_alive = held->record.keep_alive.value_or(policy_.keep_alive);
    if (keep_alive == kForever || now < held->used_until + keep_alive) {
      journal_.Broken(absl::StrCat(event.residency_id, " goes before its keep-alive is over"));
    }
  }
}

// ---- after each step ----

void World::Check() {
  CheckWorkers();
  std::erase_if(workers_, [](const auto& worker) { return worker->is_over; });
  std::erase_if(preloaders_, [](const auto& preloader) { return preloader->is_over; });
  std::erase_if(namers_, [](const auto& namer) { return namer->is_over && !namer->may_be_late; });
  if (journal_.step() % kStepsPerSnapshot == 0) CheckSnapshot();
}

void World::CheckWorkers() {
  for (const auto& worker : workers_) {
    if (!worker->end.ok()) CheckEnd(*worker);
    if (!worker->IsHolding()) continue;
    if (worker->expected_superseded < 0) {
      worker->expected_superseded = worker->superseded;  // either was right
    }
    if (worker->superseded != worker->expected_superseded) {
      journal_.Broken(absl::StrCat(worker->name, " is told ", worker->superseded,
                                   " times that it is superseded, not ",
                                   worker->expected_superseded));
    }
  }
}

void World::CheckEnd(const Worker& worker) {
  const auto refuse = [&] {
    journal_.Broken(absl::StrCat(worker.name, " ends with ", std::string(worker.end.message())));
  };
  switch (wire::GetReason(worker.end)) {
    case wire::Reason::kBudgetExceeded: {
      // A second copy on a device may have to be made from what is in its way.
      const bool is_copy = worker.spec.reference.starts_with(kDigestScheme) &&
                           (worker.spec.private_copy || !worker.spec.instance.empty());
      if (worker.request.wait_for_room && !is_copy &&
          ModelCatalog::NameOf(worker.spec.reference) != "huge" &&
          capacities_.at("host") >= 14 * kLetterBytes) {
        refuse();
      }
      return;
    }
    case wire::Reason::kDeadlineExceeded:
      if (!worker.request.deadline || clock_->Now() < *worker.request.deadline) refuse();
      return;
    case wire::Reason::kCheckpointNotFound:
      if (worker.since > 0) refuse();
      return;
    case wire::Reason::kResidencyNotFound:
      if (worker.since > 0 && !worker.request.resume) refuse();
      return;
    case wire::Reason::kDeviceLost:
      if (!worker.is_lost && worker.grant) refuse();
      return;
    case wire::Reason::kDigestMismatch:
    case wire::Reason::kDeviceUnavailable:
    case wire::Reason::kDraining:
    case wire::Reason::kReadFailed:
    case wire::Reason::kCheckpointMalformed:
    case wire::Reason::kCheckpointChanged:
      return;
    default:
      refuse();
  }
}

// ---- now and then ----

void World::CheckSnapshot() {
  const Snapshot snapshot = TakeSnapshot();
  for (const DeviceInfo& device : snapshot.devices) CheckDevice(device);
  std::set<std::string> with_memory;
  for (const ResidencyInfo& info : snapshot.residencies) {
    CheckResidency(info);
    with_memory.insert(info.id);
  }
  for (const ModelBackend& backend : backends_) {
    for (const auto& [id, held] : backend.held()) {
      if (!with_memory.contains(id)) journal_.Broken(absl::StrCat(id, " is held by nobody"));
    }
  }
  size_t holding = 0;
  for (const auto& worker : workers_) {
    if (!worker->IsHolding()) continue;
    ++holding;
    const auto lease = std::ranges::find(snapshot.leases, worker->grant->lease_id, &LeaseInfo::id);
    if (lease == snapshot.leases.end() || lease->residency_id != worker->grant->residency_id) {
      journal_.Broken(absl::StrCat(worker->name, " has no lease"));
    }
  }
  if (holding != snapshot.leases.size()) journal_.Broken("there is a lease of nobody");
  CheckOnce(snapshot);
  CheckAliases(snapshot.aliases);
}

void World::CheckDevice(const DeviceInfo& device) {
  const ModelBackend& backend = BackendOf(device.id);
  if (device.reserved_bytes != backend.reserved_bytes()) {
    journal_.Broken(absl::StrCat(device.reserved_bytes, " bytes are reserved on ", device.id,
                                 ", not ", backend.reserved_bytes()));
  }
  if (device.resident_bytes != backend.resident_bytes()) {
    journal_.Broken(absl::StrCat(device.resident_bytes, " bytes are resident on ", device.id,
                                 ", not ", backend.resident_bytes()));
  }
  const uint64_t used = device.reserved_bytes + device.resident_bytes;
  uint64_t& most = most_bytes_.at(device.id);
  if (used > most) journal_.Broken(absl::StrCat(used, " bytes are in use on ", device.id));
  // What was taken over may be too much, and then only less.
  most = std::max(capacities_.at(device.id), std::min(most, used));
  if (device.available != backend.is_up()) journal_.Broken(device.id + " is not as it says");
}

void World::CheckResidency(const ResidencyInfo& info) {
  const auto broken = [&](const std::string& what) {
    journal_.Broken(absl::StrCat(info.id, " (", std::string(StateName(info.state)), ") ", what));
  };
  if (IsEnded(info.state)) return broken("has ended and is here");
  int leases = 0;
  for (const auto& worker : workers_) {
    if (!worker->IsHolding() || worker->grant->residency_id != info.id) continue;
    ++leases;
    if ((worker->drains > 0) != (info.state == State::kDraining)) {
      broken(absl::StrCat("has asked ", worker->name, " ", worker->drains, " times to let go"));
    }
  }
  if (leases != static_cast<int>(info.lease_count)) broken("counts its leases wrongly");

  const ModelBackend::Held* const held = BackendOf(info.device).Find(info.id);
  const bool is_loading =
      std::ranges::any_of(BackendOf(info.device).loads(),
                          [&](const auto& load) { return load.job.record.id == info.id; });
  if (is_loading != (info.state == State::kLoading)) broken("and the agent do not agree");
  if (info.state == State::kReady && held == nullptr) broken("has no memory");
  if (held == nullptr) return;

  const ResidencyRecord& record = held->record;
  if (record.pinned != info.pinned || record.keep_alive != info.keep_alive ||
      record.superseded_by != info.superseded_by) {
    broken("is another one to the agent");
  }
  if (record.draining != (info.state == State::kDraining)) {
    broken("is not going, or is, as the agent knows it");
  }
  for (const std::string& reference : info.references) {
    if (std::ranges::none_of(record.sources, [&](const Source& source) {
          return std::ranges::find(source.references, reference) != source.references.end();
        })) {
      broken(absl::StrCat("has the reference ", reference, ", which the agent does not know"));
    }
  }
  const std::string known =
      held->digests == nullptr ? "" : DigestTextOf(backends_[0].WordOf(record));
  if (info.digest != known) broken("has a digest that nobody told");

  if (info.state == State::kReady && !record.private_copy) {
    bool to_be_pinned = false;
    bool is_unsure = false;
    for (const Source& source : record.sources) {
      const Key key = {source.content_key, record.device, record.instance};
      to_be_pinned = to_be_pinned || store_.state().pins.contains(key);
      is_unsure = is_unsure || store_.IsUnsure(key);
    }
    if (!is_unsure && to_be_pinned != info.pinned) {
      broken(info.pinned ? "is pinned, and that is not durable" : "is not pinned, and should be");
    }
  }

  const bool may_expire = info.state == State::kReady && leases == 0 && info.waiter_count == 0 &&
                          !info.pinned && !info.private_copy;
  if (info.expire_time && !may_expire) broken("expires while it is used");
  if (!info.expire_time) return;
  const base::Duration keep_alive = !info.superseded_by.empty()
                                        ? base::Duration::zero()
                                        : info.keep_alive.value_or(policy_.keep_alive);
  const base::TimePoint expires = ToSteady(*info.expire_time);
  const base::TimePoint latest =
      std::max(clock_->Now() + keep_alive, std::max(held->protected_until, clock_->Now()));
  if (keep_alive == kForever || expires <= clock_->Now() || expires > latest ||
      expires < held->used_until + keep_alive) {
    broken("expires at the wrong time");
  }
}

// Of what is handed out there is nothing twice.
void World::CheckOnce(const Snapshot& snapshot) {
  std::set<std::tuple<std::string, std::string, std::string>> once;
  for (const ResidencyInfo& info : snapshot.residencies) {
    const ModelBackend::Held* const held = BackendOf(info.device).Find(info.id);
    if (info.state != State::kReady || info.private_copy || held == nullptr) continue;
    if (!once.emplace(backends_[0].WordOf(held->record), info.device, info.instance).second) {
      journal_.Broken(absl::StrCat(info.id, " is there twice"));
    }
  }
}

void World::CheckAliases(const std::vector<Alias>& aliases) {
  if (aliases.size() != aliases_.size())
    return journal_.Broken("an alias is missing, or one too many");
  for (const Alias& alias : aliases) {
    const auto expected = aliases_.find(alias.name);
    if (expected == aliases_.end() || expected->second.content_key != alias.content_key ||
        expected->second.spec.reference != alias.spec.reference ||
        expected->second.keep_alive != alias.keep_alive) {
      journal_.Broken(absl::StrCat("alias ", alias.name, " names ", alias.spec.reference));
    }
    if (store_.is_saving()) continue;
    const auto stored = store_.state().aliases.find(alias.name);
    if (stored == store_.state().aliases.end() || stored->second.content_key != alias.content_key) {
      journal_.Broken(absl::StrCat("alias ", alias.name, " is another one in the store"));
    }
    for (const ModelBackend& backend : backends_) {
      for (const auto& [id, held] : backend.held()) {
        if (held.digests != nullptr && alias.digest.empty() && !held.record.private_copy &&
            held.record.FindSource(alias.content_key) != nullptr) {
          journal_.Broken(absl::StrCat("alias ", alias.name, " does not know its digest"));
        }
      }
    }
  }
}

}  // namespace modeld::residency::model
