#include "agent/agent_log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <utility>

#include "base/log_line.h"

namespace modeld::agent {
namespace {

// `<6>`: the priorities of sd-daemon(3).
std::string_view JournalPriorityOf(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return "<7>";
  if (level == spdlog::level::info) return "<6>";
  return level == spdlog::level::warn ? "<4>" : "<3>";
}

// As modeld calls them; spdlog's `%l` says `warning`.
std::string_view LevelName(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return "debug";
  if (level == spdlog::level::info) return "info";
  return level == spdlog::level::warn ? "warn" : "error";
}

// Writes what `kTextOf` makes of the message's level.
template <std::string_view (*kTextOf)(spdlog::level::level_enum)>
class LevelFlag : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& line) override {
    const std::string_view text = kTextOf(message.level);
    line.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LevelFlag>();
  }
};

class JsonFormatter : public spdlog::formatter {
 public:
  JsonFormatter(std::string program, bool journal)
      : program_(std::move(program)), journal_(journal) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    base::LogFields head;
    if (!journal_)
      head = {{"time", base::LogTime(message.time)},
              {"level", std::string(LevelName(message.level))}};
    head.emplace_back("program", program_);
    std::string text(journal_ ? JournalPriorityOf(message.level) : std::string_view());
    text += base::JsonLogLine(head, {message.payload.data(), message.payload.size()});
    text += '\n';
    line.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>(program_, journal_);
  }

 private:
  const std::string program_;
  const bool journal_;
};

// systemd says which stream it reads; stderr may have been sent elsewhere.
bool LogsToTheJournal() {
  const char* const stream = ::getenv("JOURNAL_STREAM");
  struct stat status;
  if (stream == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
  return stream == std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

std::unique_ptr<spdlog::formatter> TextFormatter(const std::string& program, bool journal) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<LevelFlag<JournalPriorityOf>>('*');
  formatter->add_flag<LevelFlag<LevelName>>('&');
  formatter->set_pattern((journal ? "%*" : "time=%Y-%m-%dT%H:%M:%S.%eZ level=%& ") +
                         ("program=" + program + " %v"));
  return formatter;
}

}  // namespace

void StartLogging(const std::string& program, const std::string& level, const std::string& format) {
  auto logger = spdlog::stderr_logger_mt("agent");
  const bool journal = LogsToTheJournal();
  logger->set_formatter(format == "json" ? std::make_unique<JsonFormatter>(program, journal)
                                         : TextFormatter(program, journal));
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace modeld::agent
