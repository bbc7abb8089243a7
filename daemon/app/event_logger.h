// Writes what happens to residencies, leases and agents into the log.

#pragma once

#include "residency/event_log.h"

namespace modeld::app {

// Subscribed as long as it lives. Failures are warnings, leases debug lines, the rest is
// information.
class EventLogger {
 public:
  // `events` outlives the logger.
  explicit EventLogger(residency::EventLog& events);
  ~EventLogger();
  EventLogger(const EventLogger&) = delete;
  EventLogger& operator=(const EventLogger&) = delete;

 private:
  residency::EventLog& events_;
  const uint64_t subscription_;
};

}  // namespace modeld::app
