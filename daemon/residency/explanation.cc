#include "residency/explanation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "residency/event_log.h"

namespace modeld::residency {
namespace {

// More would not be read.
constexpr size_t kExplainedHolders = 5;

std::string Ago(base::WallTime then, base::WallTime now) {
  const int64_t seconds =
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(now - then).count());
  if (seconds < 120) return absl::StrCat(seconds, " s ago");
  if (seconds < 7200) return absl::StrCat(seconds / 60, " min ago");
  if (seconds < 172'800) return absl::StrCat(seconds / 3600, " h ago");
  return absl::StrCat(seconds / 86'400, " days ago");
}

std::string In(base::WallTime then, base::WallTime now) {
  const int64_t seconds =
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(then - now).count());
  return absl::StrCat("in ", seconds, " s");
}

const Event* Last(const std::vector<Event>& events, EventType type) {
  const auto found = std::find_if(events.rbegin(), events.rend(),
                                  [type](const Event& event) { return event.type == type; });
  return found == events.rend() ? nullptr : &*found;
}

std::string WhyItWent(std::string_view cause) {
  if (cause == cause::kRoom) return "another model needed the room";
  if (cause == cause::kOperator) return "an operator said so";
  if (cause == cause::kExpired) return "nobody had used it for as long as its keep-alive says";
  if (cause == cause::kSuperseded) return "another version stands under its alias";
  if (cause == cause::kPrivate) return "the holder of this private copy was gone";
  if (cause == cause::kUnwanted) return "nobody waited for it any more";
  return std::string(cause);
}

class Explainer {
 public:
  explicit Explainer(const ResidencyFacts& facts) : facts_(facts) {}

  std::vector<std::string> Explain() {
    const State state = facts_.residency ? facts_.residency->state : StateFromEvents();
    Origin();
    switch (state) {
      case State::kPending:
      case State::kIdentifying:
      case State::kLoading:
        Coming(state);
        break;
      case State::kReady:
        Staying();
        break;
      case State::kDraining:
        Leaving();
        break;
      case State::kEvicted:
        Evicted();
        break;
      case State::kFailed:
      case State::kLost:
        Ended(state);
        break;
    }
    return std::move(sentences_);
  }

 private:
  template <class... Parts>
  void Say(const Parts&... parts) {
    sentences_.push_back(absl::StrCat(parts..., "."));
  }

  // For what only events remember.
  State StateFromEvents() const {
    for (auto event = facts_.events.rbegin(); event != facts_.events.rend(); ++event) {
      if (event->type == EventType::kResidencyEvicted) return State::kEvicted;
      if (event->type == EventType::kLoadFailed || event->type == EventType::kLoadCancelled) {
        return State::kFailed;
      }
      if (event->type == EventType::kResidencyLost) return State::kLost;
    }
    return State::kLost;  // modeld ended with it
  }

  void Origin() {
    if (const Event* adopted = Last(facts_.events, EventType::kResidencyAdopted)) {
      Say("It was resident before this modeld started, and was taken over ",
          Ago(adopted->time, facts_.now));
    } else if (const Event* ready = Last(facts_.events, EventType::kResidencyReady)) {
      Say("It was loaded ", Ago(ready->time, facts_.now), ": ", ready->bytes, " bytes, ",
          ready->message);
    }
  }

  void Coming(State state) {
    Say("It is ", std::string(StateName(state)), ", and ", facts_.residency->waiter_count,
        " wait for it");
    if (state == State::kIdentifying) {
      if (const Event* compared = Last(facts_.events, EventType::kResidencyIdentifying)) {
        Say("It may be what is resident already: ", compared->message);
      }
    }
  }

  void Staying() {
    const ResidencyInfo& residency = *facts_.residency;
    if (!facts_.leases.empty()) {
      std::vector<std::string> holders;
      for (const LeaseInfo& lease : facts_.leases) {
        if (holders.size() == kExplainedHolders) {
          holders.push_back(absl::StrCat(facts_.leases.size() - kExplainedHolders, " more"));
          break;
        }
        holders.push_back(HolderText(lease.holder));
      }
      Say("It stays because it is held by ", absl::StrJoin(holders, ", "));
    }
    if (residency.pinned) Say("It stays because an operator has pinned it");
    if (facts_.readers > 0) Say("It is being read for another load, or compared with one");
    if (!residency.aliases.empty()) {
      Say("It stands under the name ", absl::StrJoin(residency.aliases, ", "));
    }
    if (!residency.superseded_by.empty()) {
      Say("Alias ", residency.superseded_by,
          " names another version now: it goes with its last holder");
    }
    if (!facts_.leases.empty() || residency.pinned || facts_.readers > 0) return;

    if (const Event* ended = Last(facts_.events, EventType::kLeaseEnded)) {
      Say("Nobody has held it since pid ", ended->pid, " let go ", Ago(ended->time, facts_.now),
          " (", ended->cause, ")");
    } else if (residency.released_time) {
      Say("Nobody has held it since ", Ago(*residency.released_time, facts_.now));
    } else {
      Say("Nobody has held it yet");
    }
    if (residency.expire_time) {
      Say("It will be evicted ", In(*residency.expire_time, facts_.now),
          " if nobody acquires it before");
    } else {
      Say("It stays until its room is needed or an operator evicts it");
    }
    Place();
  }

  void Place() {
    const auto& order = facts_.eviction_order;
    const auto place =
        std::ranges::find(order, facts_.residency->id, &EvictionCandidate::residency_id);
    if (place == order.end()) {
      Say("Evicting it alone would free nothing: others use its segments");
      return;
    }
    const auto before = place - order.begin();
    const std::string device = facts_.residency->device;
    if (before == 0) {
      Say("It would be the first to go if ", device, " ran out of room (", facts_.free_bytes,
          " bytes are free)");
    } else {
      Say("If ", device, " ran out of room (", facts_.free_bytes, " bytes are free), ", before,
          before == 1 ? " would" : " would all", " go before it, ", order.front().reference,
          " first");
    }
    if (place->not_before) {
      Say("For others' need of room it would go ", In(*place->not_before, facts_.now),
          " at the earliest");
    }
  }

  void Leaving() {
    const Event* const draining = Last(facts_.events, EventType::kResidencyDraining);
    if (draining != nullptr) {
      Say("It is not handed out any more since ", Ago(draining->time, facts_.now), ": ",
          draining->message);
    }
    if (facts_.leases.empty()) {
      Say("Its memory is being given back");
    } else {
      Say("It waits for ", facts_.leases.size(), " holders to let go, first of all ",
          HolderText(facts_.leases.front().holder));
    }
  }

  void Evicted() {
    const Event* const draining = Last(facts_.events, EventType::kResidencyDraining);
    const Event* const evicted = Last(facts_.events, EventType::kResidencyEvicted);
    if (evicted == nullptr) return Say("It was evicted");
    Say("It was evicted ", Ago(evicted->time, facts_.now), ", which freed ", evicted->bytes,
        " bytes");
    if (draining != nullptr) {
      Say("It went because ", WhyItWent(draining->cause), ": ", draining->message);
    }
  }

  void Ended(State state) {
    const Event* const end = state == State::kLost ? Last(facts_.events, EventType::kResidencyLost)
                             : Last(facts_.events, EventType::kLoadFailed) != nullptr
                                 ? Last(facts_.events, EventType::kLoadFailed)
                                 : Last(facts_.events, EventType::kLoadCancelled);
    if (end == nullptr) {
      Say("It ended with a modeld before this one");
      return;
    }
    Say(state == State::kLost                    ? "Its memory was lost "
        : end->type == EventType::kLoadCancelled ? "Its load was cancelled "
                                                 : "Its load failed ",
        Ago(end->time, facts_.now), ": ", end->message);
  }

  const ResidencyFacts& facts_;
  std::vector<std::string> sentences_;
};

}  // namespace

Explanation ExplainFrom(ResidencyFacts facts) {
  Explanation explanation;
  explanation.sentences = Explainer(facts).Explain();
  explanation.residency = std::move(facts.residency);
  explanation.events = std::move(facts.events);
  std::erase_if(explanation.events, IsOfLease);
  explanation.eviction_order = std::move(facts.eviction_order);
  return explanation;
}

}  // namespace modeld::residency
