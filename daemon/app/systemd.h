// What the service manager is told, over NOTIFY_SOCKET. Nothing happens where there is none.

#pragma once

#include <optional>
#include <string_view>

#include "base/clock.h"

namespace modeld::app {

void NotifyReady(std::string_view status);
void NotifyReloading(std::string_view status);
void NotifyStopping(std::string_view status);
void NotifyWatchdog();

// How often the service manager wants to hear NotifyWatchdog at the latest; nullopt: not at all.
std::optional<base::Duration> WatchdogInterval();

}  // namespace modeld::app
