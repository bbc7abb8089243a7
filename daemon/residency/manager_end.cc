// Manager: how residencies end.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "residency/manager.h"
#include "wire/error.h"

namespace modeld::residency {

// REQUIRES: residency is coming
void Manager::Fail(Residency& residency, const absl::Status& status) {
  const std::string device_id = residency.record().device;
  residency.error = status;
  residency.ChangeState(State::kFailed);
  registry_.Retire(residency);
  std::erase(devices_.at(device_id).admission, residency.id());
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
  Reconsider(device_id);
}

void Manager::AnswerEvictions(const Residency& residency, uint64_t freed_bytes) {
  const auto evictions = evictions_.extract(residency.id());
  if (evictions.empty()) return;
  for (const Eviction& eviction : evictions.mapped()) {
    if (eviction.timer) deps_.timer->Cancel(*eviction.timer);
    eviction.reply(EvictResult{InfoOf(residency), freed_bytes, {}});
  }
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

// From now on it is there for its holders only. REQUIRES: residency is READY
void Manager::Drain(Residency& residency, std::string_view cause, const std::string& why) {
  Event event;
  event.cause = cause;
  event.bytes = WouldFree(residency);
  event.message = why;
  Publish(EventType::kResidencyDraining, residency, std::move(event));
  residency.set_draining();
  residency.ChangeState(State::kDraining);
  registry_.Retire(residency);
  if (residency.expiry) deps_.timer->Cancel(residency.expiry->second);
  residency.expiry.reset();
  WakeRivals(residency.id());
  if (residency.IsIdle() && residency.returning_until <= deps_.clock->Now()) return;

  devices_.at(residency.record().device).backend->UpdateRecord(residency.record());
  const std::set<Ticket> waiters = residency.waiters;
  for (const Ticket ticket : waiters) {
    EndWaiter(ticket,
              wire::MakeError(wire::Reason::kDraining,
                              absl::StrCat(residency.record().reference(), " is going: ", why),
                              {{"residency", residency.id()}}, "ask for it again"));
  }
  for (const Ticket ticket : residency.leases) {
    leases_.at(ticket).observer->OnDrainRequested(
        absl::StrCat("residency ", residency.id(), " is wanted back: ", why), /*stopping=*/false);
  }
}

// REQUIRES: residency is READY and idle.
void Manager::Free(Residency& residency, std::string_view cause, const std::string& why) {
  Drain(residency, cause, why);
  GiveBack(residency);
}

// REQUIRES: residency.IsLeaving() and is idle.
void Manager::GiveBack(Residency& residency) {
  Device& device = devices_.at(residency.record().device);
  residency.freeing_bytes = LeaveSegments(device, residency);
  residency.memory.reset();  // modeld's own descriptors; the agent's go with Release
  residency.borrowed.clear();
  device.releasing_bytes += residency.freeing_bytes;
  device.backend->Release(residency.id());
}

// REQUIRES: residency has memory. It is gone, whoever holds it.
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
    Event ended = EventOf(node.mapped().info);
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
  Reconsider(device_id);
}

// ---- when nobody uses it ----

// Somebody does not read it, or compare itself with it, any more.
void Manager::LeaveReader(Residency* residency) {
  if (residency == nullptr) return;
  --residency->readers;
  residency->idle_since = deps_.clock->Now();
  SettleSoon(*residency);
}

// For callers that still work with it.
void Manager::SettleSoon(const Residency& residency) {
  if (!residency.IsIdle()) return Reconsider(residency.record().device);
  strand_.Post([this, id = residency.id()] {
    Residency* const idle = registry_.Get(id);
    if (idle != nullptr) Settle(*idle);
  });
}

// What becomes of it if nobody uses it: it goes, at once or when its time is over, or stays and
// can make room.
void Manager::Settle(Residency& residency) {
  if (!residency.IsIdle()) return Reconsider(residency.record().device);
  const base::TimePoint now = deps_.clock->Now();
  std::optional<base::TimePoint> due = ExpiryOf(residency);
  if (residency.IsLeaving()) due = std::max(residency.returning_until, now);
  if (residency.expiry && residency.expiry->first != due.value_or(now)) {
    deps_.timer->Cancel(residency.expiry->second);
    residency.expiry.reset();
  }
  if (due && *due <= now) {
    if (residency.IsLeaving()) return GiveBack(residency);
    const std::string& alias = residency.record().superseded_by;
    if (alias.empty()) return Free(residency, cause::kExpired, "its keep-alive is over");
    return Free(residency, cause::kSuperseded,
                absl::StrCat("alias ", alias, " names another version"));
  }
  if (due && !residency.expiry) {
    const auto look_again = [this, id = residency.id()] {
      strand_.Post([this, id] {
        Residency* const idle = registry_.Get(id);
        if (idle == nullptr) return;
        idle->expiry.reset();
        Settle(*idle);
      });
    };
    residency.expiry = {*due, deps_.timer->At(*due, look_again)};
  }
  Reconsider(residency.record().device);
}

base::Duration Manager::KeepAliveOf(const Residency& residency) const {
  if (!residency.record().superseded_by.empty()) return base::Duration::zero();
  return residency.record().keep_alive.value_or(policy_.keep_alive);
}

std::optional<base::TimePoint> Manager::ExpiryOf(const Residency& residency) const {
  const bool stays = residency.state() != State::kReady || !residency.IsIdle() ||
                     residency.pinned() || residency.record().private_copy;
  const base::Duration keep_alive = KeepAliveOf(residency);
  if (stays || keep_alive == kForever) return std::nullopt;
  return std::max(residency.idle_since + keep_alive, residency.returning_until);
}

}  // namespace modeld::residency
