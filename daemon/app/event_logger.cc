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

void LogEvent(const Event& event, LogLevel level) {
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
  Log(level, Words(event.type), fields);
}

}  // namespace

EventLogger::EventLogger(residency::EventLog& events,
                         std::function<bool(std::string_view reference)> is_said)
    : events_(events),
      subscription_(events.Subscribe(0, [is_said = std::move(is_said)](const Event& event) {
        const bool is_another_line =
            event.type == EventType::kLoadFailed && is_said(event.reference);
        LogEvent(event, is_another_line ? LogLevel::kDebug : LevelOf(event.type));
      })) {}

EventLogger::~EventLogger() { events_.Unsubscribe(subscription_); }

}  // namespace modeld::app
