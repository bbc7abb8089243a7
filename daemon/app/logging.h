// The log: lines of key=value, or of JSON, on stderr.

#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "app/config.h"
#include "base/log_line.h"

namespace modeld::app {

using base::LogFields;

enum class LogStyle {
  kPlain,    // time=2026-01-31T08:15:00.123Z level=info msg="ready" pid=7
  kJournal,  // <6>msg="ready" pid=7, as sd-daemon(3) wants it
};

// A line without its end. Fields are written in order; LogFormat::kJson has time and level as
// fields where kPlain has them, and the journal's prefix before the object.
std::string FormatLogLine(LogStyle style, LogLevel level,
                          std::chrono::system_clock::time_point time, std::string_view message,
                          const LogFields& fields, LogFormat format = LogFormat::kText);

// kJournal if stderr is what JOURNAL_STREAM says, which systemd sets.
LogStyle StyleOfStderr(const Surroundings& surroundings);

// While it lives, spdlog's default logger and Log() write to stderr. A thread of its own writes, so
// that a reader of the log that hangs holds up nobody; when it falls behind by more than some
// thousand lines, the oldest are dropped. One at a time.
class Logging {
 public:
  Logging(LogLevel level, LogStyle style, LogFormat format = LogFormat::kText);
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
