#include "app/logging.h"

#include <errno.h>
#include <spdlog/async.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <mutex>

#include "wire/mutex.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

constexpr size_t kQueueLines = 8192;

struct Level {
  LogLevel level;
  std::string_view name;
  std::string_view journal_prefix;  // sd-daemon(3)
  spdlog::level::level_enum spdlog;
};

constexpr Level kLevels[] = {
    {LogLevel::kDebug, "debug", "<7>", spdlog::level::debug},
    {LogLevel::kInfo, "info", "<6>", spdlog::level::info},
    {LogLevel::kWarn, "warn", "<4>", spdlog::level::warn},
    {LogLevel::kError, "error", "<3>", spdlog::level::err},
};

const Level& LevelOf(LogLevel level) { return kLevels[static_cast<size_t>(level)]; }

LogLevel FromSpdlog(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return LogLevel::kDebug;
  if (level == spdlog::level::info) return LogLevel::kInfo;
  return level == spdlog::level::warn ? LogLevel::kWarn : LogLevel::kError;
}

std::string Line(LogStyle style, LogFormat format, LogLevel level,
                 std::chrono::system_clock::time_point time, std::string_view text) {
  const bool journal = style == LogStyle::kJournal;
  const std::string_view prefix = journal ? LevelOf(level).journal_prefix : std::string_view();
  LogFields head;
  if (!journal) {
    head = {{"time", base::LogTime(time)}, {"level", std::string(LevelOf(level).name)}};
  }
  if (format == LogFormat::kJson) return wire::StrCat(prefix, base::JsonLogLine(head, text));
  std::string line(prefix);
  for (const auto& [key, value] : head) line += wire::StrCat(key, "=", value, " ");
  line += base::IsLogText(text) ? std::string(text) : base::LogText(text, {});
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

// How often the writing thread has come to a request to flush. Thread-safe.
class Flushes {
 public:
  void Add() {
    wire::MutexLock lock(mutex_);
    ++count_;
    changed_.NotifyAll();
  }
  uint64_t count() {
    wire::MutexLock lock(mutex_);
    return count_;
  }
  void WaitForMoreThan(uint64_t count, std::chrono::steady_clock::time_point until) {
    wire::MutexLock lock(mutex_);
    while (count_ <= count && changed_.WaitUntil(mutex_, until)) {
    }
  }

 private:
  wire::Mutex mutex_;
  wire::CondVar changed_;
  uint64_t count_ MODELD_GUARDED_BY(mutex_) = 0;
};

Flushes& flushes() {
  static Flushes& flushes = *new Flushes;
  return flushes;
}

class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  StderrSink(LogStyle style, LogFormat format) : style_(style), format_(format) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const std::string_view payload(message.payload.data(), message.payload.size());
    const std::string line =
        Line(style_, format_, FromSpdlog(message.level), message.time, payload) + '\n';
    // One write, so that lines of several processes do not mix. A stderr that is gone loses its
    // lines.
    for (size_t done = 0; done < line.size();) {
      const ssize_t count = ::write(STDERR_FILENO, line.data() + done, line.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return;
      done += static_cast<size_t>(count);
    }
  }
  // Comes in turn with the lines.
  void flush_() override { flushes().Add(); }

  const LogStyle style_;
  const LogFormat format_;
};

}  // namespace

std::string FormatLogLine(LogStyle style, LogLevel level,
                          std::chrono::system_clock::time_point time, std::string_view message,
                          const LogFields& fields, LogFormat format) {
  return Line(style, format, level, time, base::LogText(message, fields));
}

LogStyle StyleOfStderr(const Surroundings& surroundings) {
  const auto stream = surroundings.Variable("JOURNAL_STREAM");
  struct stat status;
  if (!stream || ::fstat(STDERR_FILENO, &status) != 0) return LogStyle::kPlain;
  const std::string here = wire::StrCat(status.st_dev, ":", status.st_ino);
  return *stream == here ? LogStyle::kJournal : LogStyle::kPlain;
}

Logging::Logging(LogLevel level, LogStyle style, LogFormat format) {
  spdlog::init_thread_pool(kQueueLines, 1);
  auto logger = std::make_shared<spdlog::async_logger>(
      "modeld", std::make_shared<StderrSink>(style, format), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  logger->set_level(LevelOf(level).spdlog);
  spdlog::set_default_logger(std::move(logger));
}

Logging::~Logging() { spdlog::shutdown(); }

void Logging::Flush() {
  constexpr std::chrono::seconds kPatience{1};
  const uint64_t before = flushes().count();
  spdlog::default_logger_raw()->flush();
  flushes().WaitForMoreThan(before, std::chrono::steady_clock::now() + kPatience);
}

void Logging::SetLevel(LogLevel level) { spdlog::set_level(LevelOf(level).spdlog); }

void Log(LogLevel level, std::string_view message, const LogFields& fields) {
  spdlog::logger* const logger = spdlog::default_logger_raw();
  if (logger == nullptr || !logger->should_log(LevelOf(level).spdlog)) return;
  const std::string text = base::LogText(message, fields);
  logger->log(LevelOf(level).spdlog, spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace modeld::app
