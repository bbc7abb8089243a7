#include "residency/types.h"

#include "absl/strings/str_cat.h"

namespace modeld::residency {

std::string HolderText(const Holder& holder) {
  return absl::StrCat("pid ", holder.pid, " (", holder.program, holder.scope.empty() ? "" : ", ",
                      holder.scope, ")");
}

std::string_view StateName(State state) {
  switch (state) {
    case State::kPending:
      return "PENDING";
    case State::kIdentifying:
      return "IDENTIFYING";
    case State::kLoading:
      return "LOADING";
    case State::kReady:
      return "READY";
    case State::kDraining:
      return "DRAINING";
    case State::kEvicted:
      return "EVICTED";
    case State::kFailed:
      return "FAILED";
    case State::kLost:
      return "LOST";
  }
  return "UNKNOWN";
}

bool CanChange(State from, State to) {
  switch (from) {
    case State::kPending:
      return to == State::kIdentifying || to == State::kLoading || to == State::kFailed;
    case State::kIdentifying:
      return to == State::kLoading || to == State::kFailed;
    case State::kLoading:
      return to == State::kReady || to == State::kFailed;
    case State::kReady:
      return to == State::kDraining || to == State::kLost;
    case State::kDraining:
      return to == State::kEvicted || to == State::kLost;
    case State::kEvicted:
    case State::kFailed:
    case State::kLost:
      return false;
  }
  return false;
}

bool IsEnded(State state) {
  return state == State::kEvicted || state == State::kFailed || state == State::kLost;
}

std::string_view EventTypeName(EventType type) {
  switch (type) {
    case EventType::kResidencyCreated:
      return "RESIDENCY_CREATED";
    case EventType::kLoadStarted:
      return "LOAD_STARTED";
    case EventType::kResidencyReady:
      return "RESIDENCY_READY";
    case EventType::kLoadFailed:
      return "LOAD_FAILED";
    case EventType::kLoadCancelled:
      return "LOAD_CANCELLED";
    case EventType::kDigestKnown:
      return "DIGEST_KNOWN";
    case EventType::kResidencyDraining:
      return "RESIDENCY_DRAINING";
    case EventType::kResidencyEvicted:
      return "RESIDENCY_EVICTED";
    case EventType::kResidencyLost:
      return "RESIDENCY_LOST";
    case EventType::kLeaseGranted:
      return "LEASE_GRANTED";
    case EventType::kLeaseEnded:
      return "LEASE_ENDED";
    case EventType::kResidencyPinned:
      return "RESIDENCY_PINNED";
    case EventType::kResidencyUnpinned:
      return "RESIDENCY_UNPINNED";
    case EventType::kAgentStarted:
      return "AGENT_STARTED";
    case EventType::kAgentDied:
      return "AGENT_DIED";
    case EventType::kDaemonStarted:
      return "DAEMON_STARTED";
    case EventType::kDaemonStopping:
      return "DAEMON_STOPPING";
    case EventType::kResidencyAdopted:
      return "RESIDENCY_ADOPTED";
    case EventType::kResidencyIdentifying:
      return "RESIDENCY_IDENTIFYING";
    case EventType::kResidencyJoined:
      return "RESIDENCY_JOINED";
    case EventType::kResidencySuperseded:
      return "RESIDENCY_SUPERSEDED";
    case EventType::kAliasSet:
      return "ALIAS_SET";
    case EventType::kAliasRemoved:
      return "ALIAS_REMOVED";
    case EventType::kStateNotSaved:
      return "STATE_NOT_SAVED";
  }
  return "UNKNOWN";
}

}  // namespace modeld::residency
