// Manager: the operator's wish that something stays, whether or not it is resident.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "residency/manager.h"
#include "wire/error.h"

namespace modeld::residency {

// What makes it pinned.
SetPin Manager::PinOf(const Residency& residency) {
  return {residency.KeyOf(residency.record().sources.front()), residency.record().reference()};
}

bool Manager::IsToBePinned(const ResidencyRecord& record) const {
  return !record.private_copy && std::ranges::any_of(record.sources, [&](const Source& source) {
    return pins_.contains({source.content_key, record.device, record.instance});
  });
}

// The wish is durable before it is in force. That for a private copy ends with it: nobody else is
// meant by its key.
void Manager::SetPinned(std::string selector, bool pinned,
                        Reply<absl::StatusOr<ResidencyInfo>> reply) {
  FindThen(selector,
           [this, selector, pinned, reply = std::move(reply)](absl::StatusOr<Residency*> found) {
             if (!found.ok()) {
               if (pinned || wire::GetReason(found.status()) != wire::Reason::kResidencyNotFound) {
                 return reply(found.status());
               }
               return UnpinAbsent(selector, found.status(), reply);
             }
             Residency& residency = **found;
             if (!pinned) DropReplaced(selector, residency);
             if (residency.pinned() == pinned) return reply(InfoOf(residency));
             const SetPin pin = PinOf(residency);
             if (residency.record().private_copy) {
               PinNow(residency, pin, pinned);
               return reply(InfoOf(residency));
             }
             const auto went = [id = residency.id()] {
               return wire::MakeError(wire::Reason::kResidencyNotFound,
                                      absl::StrCat("residency ", id, " is going, or has gone"),
                                      {{"residency", id}}, "see what is resident: modelctl ps");
             };
             if (!registry_.IsCurrent(residency)) return reply(went());
             const StateChange change = pinned ? StateChange(pin) : StateChange(RemovePin{pin.key});
             Save(change, [this, pin, pinned, went, reply](const absl::Status& saved) {
               if (!saved.ok()) return reply(saved);
               const bool was_pinned = pins_.contains(pin.key);
               Enforce(pin, pinned);
               // It may be part of another one by now.
               Residency* const current = registry_.Current(pin.key);
               if (current != nullptr) return reply(InfoOf(*current));
               if (pinned && !was_pinned) {  // nobody is told of this pin: it is taken back
                 Save(RemovePin{pin.key}, [this, key = pin.key](const absl::Status& removed) {
                   if (removed.ok()) DropPin(key);
                 });
               }
               reply(went());
             });
           });
}

// Of what had the name before `residency`, and is not resident any more.
void Manager::DropReplaced(const std::string& reference, const Residency& residency) {
  std::vector<Key> replaced;
  for (const auto& [key, pinned_under] : pins_) {
    if (pinned_under == reference && registry_.Current(key) == nullptr) replaced.push_back(key);
  }
  for (const Key& key : replaced) {
    SaveOrSay(RemovePin{key}, residency, [this, key] { DropPin(key); });
  }
}

// A pin outlives what was lost, and would be in force again with the next load. Of files that were
// replaced since, it can be named only as it was made.
void Manager::UnpinAbsent(const std::string& selector, const absl::Status& not_found,
                          Reply<absl::StatusOr<ResidencyInfo>> reply) {
  const auto unpin = [this, selector, not_found,
                      reply = std::move(reply)](const std::string& content) {
    auto pin =
        std::ranges::find_if(pins_, [&](const auto& one) { return one.first.content == content; });
    if (pin == pins_.end()) {
      pin = std::ranges::find_if(pins_, [&](const auto& one) { return one.second == selector; });
    }
    if (pin == pins_.end()) return reply(not_found);
    Save(RemovePin{pin->first}, [this, selector, key = pin->first, reply](const auto& saved) {
      if (!saved.ok()) return reply(saved);
      DropPin(key);
      reply(ResidencyInfo{.references = {selector}, .device = key.device});
    });
  };
  if (const auto alias = aliases_.find(selector); alias != aliases_.end()) {
    return unpin(alias->second.content_key);
  }
  deps_.resolve_executor->Post([this, selector, unpin] {
    strand_.Post([unpin, opened = deps_.catalog->Resolve(selector, {})] {
      unpin(opened.ok() ? (*opened)->Key() : std::string());
    });
  });
}

// For one that is in force at once.
void Manager::SavePin(const Residency& residency, const SetPin& pin) {
  SaveOrSay(pin, residency, [this, pin] { Enforce(pin, true); });
}

// What became durable last is in force, whatever was meanwhile.
void Manager::Enforce(const SetPin& pin, bool pinned) {
  if (Residency* const current = registry_.Current(pin.key)) {
    return PinNow(*current, pin, pinned);
  }
  if (pinned) {
    pins_.insert_or_assign(pin.key, pin.reference);
  } else {
    pins_.erase(pin.key);
  }
}

// This one is not durable any more; others may still pin the same residency.
void Manager::DropPin(const Key& key) {
  pins_.erase(key);
  Residency* const current = registry_.Current(key);
  if (current != nullptr && !IsToBePinned(current->record())) PinNow(*current, {key}, false);
}

// `pin`: by the key of one of its sources; saved, or about to be.
void Manager::PinNow(Residency& residency, const SetPin& pin, bool pinned) {
  if (!residency.record().private_copy) {
    if (pinned) pins_.insert_or_assign(pin.key, pin.reference);
    for (const Source& source : residency.record().sources) {
      // Whoever was pinned and turned out to be the same is unpinned with it.
      const Key other = residency.KeyOf(source);
      if (!pinned && pins_.erase(other) > 0 && other != pin.key) {
        SaveOrSay(RemovePin{other}, residency, [this, other] { DropPin(other); });
      }
    }
  }
  if (residency.pinned() == pinned) return;
  residency.set_pinned(pinned);
  Publish(pinned ? EventType::kResidencyPinned : EventType::kResidencyUnpinned, residency);
  TellRecord(residency);
  SettleSoon(residency);
}

// By reference. Also those of private copies, which nothing else remembers.
std::vector<PinInfo> Manager::Pins() {
  std::vector<PinInfo> pins;
  for (const auto& [key, reference] : pins_) {
    const Residency* const current = registry_.Current(key);
    pins.push_back({reference, key.device, key.instance, current == nullptr ? "" : current->id()});
  }
  for (const Residency* residency : registry_.All()) {
    const ResidencyRecord& record = residency->record();
    if (!record.private_copy || !residency->pinned()) continue;
    pins.push_back({record.reference(), record.device, record.instance, record.id});
  }
  std::ranges::stable_sort(pins, {}, &PinInfo::reference);
  return pins;
}

}  // namespace modeld::residency
