// Writes what happens to residencies, leases and agents into the log.

#pragma once

#include <functional>
#include <string_view>

#include "residency/event_log.h"

namespace modeld::app {

// Subscribed as long as it lives. Failures are warnings, leases debug lines, the rest is
// information.
class EventLogger {
 public:
  // `events` outlives the logger. A load of what `is_said` names fails in a debug line only:
  // whoever wants it has a line for it. Thread-safe, does not block.
  EventLogger(residency::EventLog& events, std::function<bool(std::string_view reference)> is_said);
  ~EventLogger();
  EventLogger(const EventLogger&) = delete;
  EventLogger& operator=(const EventLogger&) = delete;

 private:
  residency::EventLog& events_;
  const uint64_t subscription_;
};

}  // namespace modeld::app
