// Manager: who gets room on a device, and who goes for it.
//
// Requests are served in order of arrival: whoever is first and has to wait holds up the rest, so
// that small requests cannot starve a large one.

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "residency/manager.h"
#include "residency/policy.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// More would not be read.
constexpr size_t kNamedUsers = 3;

}  // namespace

// It is like nothing that is here, and loads as soon as there is room.
void Manager::Enqueue(Residency& residency) {
  const std::string& device_id = residency.record().device;
  Device& device = devices_.at(device_id);
  device.admission.push_back(residency.id());
  if (!device.available) GiveAgentTime(device_id);
  Admit(device_id);
}

void Manager::Admit(const std::string& device_id) {
  Device& device = devices_.at(device_id);
  while (device.available && !device.admission.empty()) {
    Residency* const front = registry_.Get(device.admission.front());
    if (front == nullptr) {
      device.admission.pop_front();
      continue;
    }
    Residency& first = *front;
    const uint64_t needed = first.own_bytes();
    if (device.ledger.Reserve(needed)) {
      device.admission.pop_front();
      StartLoad(device, first);
      continue;
    }
    const uint64_t coming = device.ledger.free_bytes() + device.releasing_bytes;
    if (needed <= coming) return Await(first, "what is being evicted is not free yet");
    const base::TimePoint now = deps_.clock->Now();
    const Idle idle = Evictable(device_id, now);
    if (needed <= coming + idle.bytes) {
      MakeRoom(first, idle);
      continue;
    }
    const Idle later = Evictable(device_id, base::TimePoint::max());
    if (needed <= coming + later.bytes) {
      AwaitEndOfProtection(device_id, later);
      return Await(first, "what could go was loaded or taken over only a moment ago");
    }
    if (needed <= device.ledger.capacity_bytes() && StopBorrowing(device_id)) continue;
    const absl::Status refusal = BudgetError(device_id, first, later.bytes);
    if (needed <= device.ledger.capacity_bytes() && RefuseCopy(device_id, refusal)) continue;
    if (needed > device.ledger.capacity_bytes() || !KeepPatient(first, refusal)) {
      Fail(first, refusal);
      continue;
    }
    Await(first, absl::StrCat("held by ", HeldBy(device_id)));
    return RefuseImpatient(device_id);
  }
}

// One victim after another, until there is enough.
void Manager::MakeRoom(const Residency& first, const Idle& idle) {
  const Device& device = devices_.at(first.record().device);
  std::vector<Candidate> candidates;
  for (const Residency* one : idle.residencies) candidates.push_back(CandidateOf(*one));
  for (const Candidate& victim : EvictionOrder(std::move(candidates), deps_.clock->Now())) {
    if (first.own_bytes() <= device.ledger.free_bytes() + device.releasing_bytes) return;
    Free(*registry_.Get(victim.id), cause::kRoom,
         absl::StrCat("made room for ", first.record().reference()));
  }
}

// Something may have changed for those who want room.
void Manager::Reconsider(const std::string& device_id) {
  Device& device = devices_.at(device_id);
  if (device.admission.empty() || std::exchange(device.admitting, true)) return;
  strand_.Post([this, device_id] {
    devices_.at(device_id).admitting = false;
    Admit(device_id);
  });
}

void Manager::Await(Residency& first, std::string why) {
  const Device& device = devices_.at(first.record().device);
  const Progress progress = {Phase::kWaiting, device.ledger.free_bytes(), first.own_bytes(),
                             std::move(why)};
  if (first.waiting == progress) return;
  first.waiting = progress;
  TellProgress(first, progress);
}

void Manager::AwaitEndOfProtection(const std::string& device_id, const Idle& idle) {
  base::TimePoint next = base::TimePoint::max();
  for (const Residency* one : idle.residencies) {
    const base::TimePoint end = CandidateOf(*one).protected_until;
    if (end > deps_.clock->Now()) next = std::min(next, end);
  }
  Device& device = devices_.at(device_id);
  if (device.protection_timer) deps_.timer->Cancel(*device.protection_timer);
  device.protection_timer = deps_.timer->At(
      next, [this, device_id] { strand_.Post([this, device_id] { Reconsider(device_id); }); });
}

// Whoever is to borrow keeps its lenders here until it is READY. Where it waits for room itself, or
// behind somebody who does, that might never be: those who wait do without. False: nobody was to
// borrow.
bool Manager::StopBorrowing(const std::string& device_id) {
  bool stopped = false;
  for (const std::string& id : devices_.at(device_id).admission) {
    Residency* const residency = registry_.Get(id);
    if (residency == nullptr || residency->whole_plan == nullptr) continue;
    residency->plan = std::exchange(residency->whole_plan, nullptr);
    residency->set_own_bytes(residency->plan->resident_bytes());
    residency->borrowed.clear();
    LeaveLenders(*residency);
    stopped = true;
  }
  return stopped;
}

// A copy that is made on one device from what is there keeps that while it waits. Where nothing
// else has the room, it would wait for itself, and keep all others from it. Refuses one such copy.
// False: there is none, or others have room that may come yet.
bool Manager::RefuseCopy(const std::string& device_id, const absl::Status& refusal) {
  std::unordered_map<std::string, int> copies;  // of each source, that wait here
  const std::deque<std::string> admission = devices_.at(device_id).admission;
  for (const std::string& id : admission) {
    const Residency* const residency = registry_.Get(id);
    if (residency != nullptr) ++copies[residency->source_id];
  }
  if (devices_.at(device_id).ledger.reserved_bytes() > 0) return false;
  for (const Residency* residency : registry_.All()) {
    if (residency->record().device != device_id || residency->memory == nullptr) continue;
    const auto own = copies.find(residency->id());
    const int readers = own == copies.end() ? 0 : own->second;
    if (!residency->leases.empty() || !residency->waiters.empty() || residency->pinned() ||
        residency->readers > readers) {
      return false;
    }
  }
  // The last that came: without it there may be room for the others.
  for (auto id = admission.rbegin(); id != admission.rend(); ++id) {
    Residency* const copy = registry_.Get(*id);
    const Residency* const source = copy == nullptr ? nullptr : registry_.Get(copy->source_id);
    if (source == nullptr || source->record().device != device_id) continue;
    Fail(*copy, refusal);
    return true;
  }
  return false;
}

bool Manager::IsPatient(const Residency& residency) {
  return (residency.wanted && residency.patient) ||
         std::ranges::any_of(residency.waiters,
                             [&](Ticket ticket) { return waiters_.at(ticket).wait_for_room; }) ||
         std::ranges::any_of(residency.followers, [&](const std::string& id) {
           const Residency* const follower = registry_.Get(id);
           return follower != nullptr && IsPatient(*follower);
         });
}

// Refuses those who do not want to wait for room. False, and nothing is done, when that is all of
// them.
bool Manager::KeepPatient(Residency& residency, const absl::Status& refusal) {
  if (!IsPatient(residency)) return false;
  if (!residency.patient) residency.wanted = false;
  const std::set<Ticket> waiters = residency.waiters;
  for (const Ticket ticket : waiters) {
    if (!waiters_.at(ticket).wait_for_room) EndWaiter(ticket, refusal);
  }
  const std::set<std::string> followers = residency.followers;
  for (const std::string& id : followers) {
    Residency* const follower = registry_.Get(id);
    if (follower != nullptr && !KeepPatient(*follower, refusal)) Fail(*follower, refusal);
  }
  return true;
}

// Of those behind the first, who waits for holders.
void Manager::RefuseImpatient(const std::string& device_id) {
  const std::deque<std::string> admission = devices_.at(device_id).admission;
  const Residency& first = *registry_.Get(admission.front());
  for (auto id = std::next(admission.begin()); id != admission.end(); ++id) {
    Residency* const behind = registry_.Get(*id);
    if (behind == nullptr) continue;
    const absl::Status refusal = QueueError(device_id, *behind, first);
    if (!KeepPatient(*behind, refusal)) Fail(*behind, refusal);
  }
}

Candidate Manager::CandidateOf(const Residency& residency) {
  return {.id = residency.id(),
          .lease_count = static_cast<uint32_t>(residency.leases.size()),
          .pinned = residency.pinned(),
          .idle_since = residency.idle_since,
          .protected_until = std::max(residency.protected_until, residency.returning_until)};
}

Manager::Idle Manager::Evictable(const std::string& device_id, base::TimePoint time) {
  const auto& users = devices_.at(device_id).users;
  std::vector<Residency*> idle;
  std::unordered_map<std::string, int> idle_users;  // of segments that several use
  for (Residency* residency : registry_.All()) {
    if (residency->record().device != device_id || residency->state() != State::kReady ||
        !residency->IsIdle() || residency->pinned() ||
        CandidateOf(*residency).protected_until > time) {
      continue;
    }
    idle.push_back(residency);
    for (const auto& segment : residency->memory->segments) {
      if (users.at(segment->id) > 1) ++idle_users[segment->id];
    }
  }
  Idle evictable;
  std::unordered_set<std::string> counted;
  for (Residency* residency : idle) {
    bool gives_back = false;
    for (const auto& segment : residency->memory->segments) {
      // It comes back only when all that use it go.
      const int all = users.at(segment->id);
      const bool comes_back = all == 1 || idle_users.at(segment->id) == all;
      if (!comes_back) continue;
      gives_back = true;
      if (all == 1 || counted.insert(segment->id).second) {
        evictable.bytes += segment->info.size_bytes;
      }
    }
    if (gives_back) evictable.residencies.push_back(residency);
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

// If it went alone.
uint64_t Manager::WouldFree(const Residency& residency) const {
  if (residency.memory == nullptr) {
    return residency.state() == State::kLoading ? residency.own_bytes() : 0;
  }
  const auto& users = devices_.at(residency.record().device).users;
  uint64_t freed = 0;
  for (const auto& segment : residency.memory->segments) {
    if (users.at(segment->id) == 1) freed += segment->info.size_bytes;
  }
  return freed;
}

// The largest first.
std::string Manager::HeldBy(const std::string& device_id) {
  std::vector<const Residency*> held;
  for (const Residency* residency : registry_.All()) {
    if (residency->record().device == device_id && residency->memory != nullptr &&
        (!residency->IsIdle() || residency->pinned())) {
      held.push_back(residency);
    }
  }
  std::ranges::stable_sort(held, std::greater<>(), &Residency::own_bytes);
  std::vector<std::string> words;
  for (const Residency* residency : held) {
    if (words.size() == kNamedUsers) {
      words.push_back(absl::StrCat(held.size() - kNamedUsers, " more"));
      break;
    }
    std::string who = residency->pinned() ? "pinned" : "being read for another load";
    if (!residency->leases.empty()) {
      who = HolderText(leases_.at(*residency->leases.begin()).info.holder);
      if (residency->leases.size() > 1) {
        absl::StrAppend(&who, " and ", residency->leases.size() - 1, " more");
      }
    }
    words.push_back(absl::StrCat(residency->record().reference(), ": ", who));
  }
  const uint64_t reserved = devices_.at(device_id).ledger.reserved_bytes();
  if (reserved > 0) words.push_back(absl::StrCat(reserved, " bytes by loads under way"));
  return words.empty() ? "nobody" : absl::StrJoin(words, "; ");
}

absl::Status Manager::BudgetError(const std::string& device_id, const Residency& residency,
                                  uint64_t evictable_bytes) {
  const Device& device = devices_.at(device_id);
  const Ledger& ledger = device.ledger;
  const uint64_t held = ledger.resident_bytes() - device.releasing_bytes - evictable_bytes;
  const std::string& reference = residency.record().reference();
  const bool never = residency.own_bytes() > ledger.capacity_bytes();
  const std::string holders = HeldBy(device_id);
  const std::string numbers = absl::StrCat(
      residency.own_bytes(), " bytes needed, ", ledger.free_bytes(), " free, ", evictable_bytes,
      " evictable, ", held, " held or pinned, ", ledger.reserved_bytes(),
      " reserved by other loads, ", ledger.capacity_bytes(), " capacity");
  return wire::MakeError(
      wire::Reason::kBudgetExceeded,
      absl::StrCat(reference, " does not fit on ", device_id, ": ", numbers,
                   never ? "" : absl::StrCat(" (", holders, ")")),
      {{"reference", reference},
       {"device", device_id},
       {"needed_bytes", absl::StrCat(residency.own_bytes())},
       {"free_bytes", absl::StrCat(ledger.free_bytes())},
       {"evictable_bytes", absl::StrCat(evictable_bytes)},
       {"held_bytes", absl::StrCat(held)},
       {"capacity_bytes", absl::StrCat(ledger.capacity_bytes())},
       {"holders", holders}},
      !never ? "wait for room (--wait-for-room), or see who holds what: modelctl leases"
      : device_id == kHostDevice
          ? "give the daemon a larger --host-capacity"
          : "give the daemon a larger gpu_capacity, or load it on a larger GPU: modelctl devices");
}

absl::Status Manager::QueueError(const std::string& device_id, const Residency& residency,
                                 const Residency& first) {
  const std::string& reference = residency.record().reference();
  const uint64_t free_bytes = devices_.at(device_id).ledger.free_bytes();
  return wire::MakeError(
      wire::Reason::kBudgetExceeded,
      absl::StrCat("no room for ", reference, " on ", device_id, ": ", free_bytes,
                   " bytes are free, but ", first.record().reference(),
                   " was there first and waits for ", first.own_bytes(), " bytes, ",
                   first.waiting ? first.waiting->message : ""),
      {{"reference", reference},
       {"device", device_id},
       {"needed_bytes", absl::StrCat(residency.own_bytes())},
       {"free_bytes", absl::StrCat(free_bytes)}},
      "wait in turn (--wait-for-room), or see who holds what: modelctl leases");
}

}  // namespace modeld::residency
