#include "app/systemd.h"

#include <systemd/sd-daemon.h>

#include <string>

#include "wire/text.h"

namespace modeld::app {

void NotifyReady(std::string_view status) {
  ::sd_notify(0, wire::StrCat("READY=1\nSTATUS=", status).c_str());
}

void NotifyReloading(std::string_view status) {
  ::sd_notify(0, wire::StrCat("RELOADING=1\nSTATUS=", status).c_str());
}

void NotifyStopping(std::string_view status) {
  ::sd_notify(0, wire::StrCat("STOPPING=1\nSTATUS=", status).c_str());
}

void NotifyWatchdog() { ::sd_notify(0, "WATCHDOG=1"); }

std::optional<base::Duration> WatchdogInterval() {
  uint64_t microseconds = 0;
  if (::sd_watchdog_enabled(0, &microseconds) <= 0) return std::nullopt;
  return std::chrono::microseconds(microseconds);
}

}  // namespace modeld::app
