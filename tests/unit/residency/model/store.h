// A state store that answers when it is told to, and sometimes with an error.

#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <set>
#include <utility>

#include "residency/durable_state.h"

namespace modeld::residency::model {

class ModelStore : public StateStore {
 public:
  void Save(StateChange change, std::function<void(absl::Status)> done) override {
    saves_.push_back({std::move(change), std::move(done)});
  }

  bool is_saving() const { return !saves_.empty(); }
  const StateChange& next() const { return saves_.front().first; }
  // Of the oldest save.
  void Finish(const absl::Status& status) {
    auto [change, done] = std::move(saves_.front());
    saves_.pop_front();
    Apply(change, status.ok());
    done(status);
  }
  // modeld ends while they are under way: what was done of them nobody knows.
  void Crash(size_t saved) {
    for (size_t i = 0; i < saves_.size(); ++i) {
      Apply(saves_[i].first, i < saved);
      if (const Key* key = PinOf(saves_[i].first)) unsure_pins_.insert(*key);
    }
    saves_.clear();
  }

  const DurableState& state() const { return state_; }
  size_t save_count() const { return saves_.size(); }
  // A change to its pin has failed: manager and store may differ until the next one.
  bool IsUnsure(const Key& key) const {
    return unsure_pins_.contains(key) || std::ranges::any_of(saves_, [&](const auto& save) {
             const Key* const pin = PinOf(save.first);
             return pin != nullptr && *pin == key;
           });
  }

 private:
  static const Key* PinOf(const StateChange& change) {
    if (const auto* set = std::get_if<SetPin>(&change)) return &set->key;
    if (const auto* removed = std::get_if<RemovePin>(&change)) return &removed->key;
    return nullptr;
  }

  void Apply(const StateChange& change, bool ok) {
    if (const Key* key = PinOf(change)) ok ? unsure_pins_.erase(*key) : Unsure(*key);
    if (!ok) return;
    if (const auto* set_alias = std::get_if<SetAlias>(&change)) {
      state_.aliases[set_alias->alias.name] = set_alias->alias;
    }
    if (const auto* no_alias = std::get_if<RemoveAlias>(&change)) {
      state_.aliases.erase(no_alias->name);
    }
    if (const auto* set_pin = std::get_if<SetPin>(&change))
      state_.pins[set_pin->key] = set_pin->reference;
    if (const auto* no_pin = std::get_if<RemovePin>(&change)) state_.pins.erase(no_pin->key);
  }
  size_t Unsure(const Key& key) { return unsure_pins_.insert(key).second ? 1 : 0; }

  std::deque<std::pair<StateChange, std::function<void(absl::Status)>>> saves_;
  DurableState state_;
  std::set<Key> unsure_pins_;
};

}  // namespace modeld::residency::model
