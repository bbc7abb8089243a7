// The log: lines of key=value on stderr.

#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/config.h"

namespace modeld::app {

using LogFields = std::vector<std::pair<std::string_view, std::string>>;

enum class LogStyle {
  kPlain,    // time=2026-01-31T08:15:00.123Z level=info msg="ready" pid=7
  kJournal,  // <6>msg="ready" pid=7, as sd-daemon(3) wants it
};

// A line without its end. Fields are written in order, quoted where a value needs it.
std::string FormatLogLine(LogStyle style, LogLevel level,
                          std::chrono::system_clock::time_point time, std::string_view message,
                          const LogFields& fields);

// kJournal if stderr is what JOURNAL_STREAM says, which systemd sets.
LogStyle StyleOfStderr(const Surroundings& surroundings);

// While it lives, spdlog's default logger and Log() write to stderr. A thread of its own writes, so
// that a reader of the log that hangs holds up nobody; when it falls behind by more than some
// thousand lines, the oldest are dropped. One at a time.
class Logging {
 public:
  Logging(LogLevel level, LogStyle style);
  // What was logged is written.
  ~Logging();
  // From the next line on. Thread-safe.
  static void SetLevel(LogLevel level);
  // Waits until what was logged before is written; a second at most. For leaving without the
  // destructor. Thread-safe.
  static void Flush();
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;
};

// Thread-safe. A line through spdlog's default logger, with fields; `spdlog::info` and the like
// write lines without any.
void Log(LogLevel level, std::string_view message, const LogFields& fields = {});

}  // namespace modeld::app
