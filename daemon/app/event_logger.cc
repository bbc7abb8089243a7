#include "app/event_logger.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "app/logging.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

using residency::Event;
using residency::EventType;

LogLevel LevelOf(EventType type) {
  switch (type) {
    case EventType::kLoadFailed:
    case EventType::kResidencyLost:
    case EventType::kAgentDied:
    case EventType::kStateNotSaved:
      return LogLevel::kWarn;
    case EventType::kLeaseGranted:
    case EventType::kLeaseEnded:
      return LogLevel::kDebug;
    default:
      return LogLevel::kInfo;
  }
}

// RESIDENCY_READY -> residency ready
std::string Words(EventType type) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(wire::ToAbsl(residency::EventTypeName(type))),
                             {{"_", " "}});
}

void LogEvent(const Event& event) {
  LogFields fields;
  const auto add = [&fields](std::string_view key, std::string value) {
    if (!value.empty() && value != "0") fields.emplace_back(key, std::move(value));
  };
  add("residency", event.residency_id);
  add("reference", event.reference);
  add("device", event.device);
  add("lease", wire::StrCat(event.lease_id));
  add("pid", wire::StrCat(event.pid));
  add("scope", event.scope);
  add("bytes", wire::StrCat(event.bytes));
  add("reason", event.reason);
  add("cause", event.cause);
  add("why", event.message);
  Log(LevelOf(event.type), Words(event.type), fields);
}

}  // namespace

EventLogger::EventLogger(residency::EventLog& events)
    : events_(events), subscription_(events.Subscribe(0, LogEvent)) {}

EventLogger::~EventLogger() { events_.Unsubscribe(subscription_); }

}  // namespace modeld::app
