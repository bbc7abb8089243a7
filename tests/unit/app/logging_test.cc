#include "app/logging.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/read_file.h"
#include "support/temp_dir.h"
#include "wire/unique_fd.h"

namespace modeld::app {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const auto kTime =
    std::chrono::system_clock::time_point(std::chrono::milliseconds(1'700'000'000'123));

TEST(LogLine, HasTimeLevelMessageAndFields) {
  EXPECT_EQ(
      FormatLogLine(LogStyle::kPlain, LogLevel::kWarn, kTime, "agent died",
                    {{"pid", "7"}, {"why", "killed by 9"}}),
      "time=2023-11-14T22:13:20.123Z level=warn msg=\"agent died\" pid=7 why=\"killed by 9\"");
}

TEST(LogLine, LeavesTimeAndLevelToTheJournal) {
  EXPECT_EQ(FormatLogLine(LogStyle::kJournal, LogLevel::kError, kTime, "x", {}), "<3>msg=\"x\"");
  EXPECT_EQ(FormatLogLine(LogStyle::kJournal, LogLevel::kInfo, kTime, "x", {}), "<6>msg=\"x\"");
}

TEST(LogLine, StaysOneLineWhateverIsInIt) {
  EXPECT_EQ(FormatLogLine(LogStyle::kJournal, LogLevel::kInfo, kTime, "a\nb\"c\\",
                          {{"path", "/x\ny=\x01"}, {"empty", ""}, {"plain", "/a/b:1"}}),
            "<6>msg=\"a\\nb\\\"c\\\\\" path=\"/x\\ny=\\x01\" empty=\"\" plain=/a/b:1");
}

TEST(LogLine, CanBeJson) {
  EXPECT_EQ(FormatLogLine(LogStyle::kPlain, LogLevel::kWarn, kTime, "agent died",
                          {{"pid", "7"}, {"why", "killed\nby \xff"}}, LogFormat::kJson),
            R"({"time":"2023-11-14T22:13:20.123Z","level":"warn","msg":"agent died","pid":"7",)"
            "\"why\":\"killed\\nby \uFFFD\"}");
}

TEST(LogLine, LeavesTimeAndLevelToTheJournalInJsonToo) {
  EXPECT_EQ(FormatLogLine(LogStyle::kJournal, LogLevel::kError, kTime, "x", {{"a", "b"}},
                          LogFormat::kJson),
            R"(<3>{"msg":"x","a":"b"})");
}

// What is written to stderr while it lives.
class CapturedStderr {
 public:
  CapturedStderr() : before_(::dup(STDERR_FILENO)) {
    const wire::UniqueFd file(::open((dir_ / "log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ::dup2(file.get(), STDERR_FILENO);
  }
  ~CapturedStderr() { ::dup2(before_.get(), STDERR_FILENO); }

  std::string text() const { return test::ReadFile(dir_ / "log"); }

 private:
  test::TempDir dir_;
  wire::UniqueFd before_;
};

TEST(Logging, WritesWhatBothWaysLog) {
  const CapturedStderr captured;
  {
    const Logging logging(LogLevel::kInfo, LogStyle::kPlain);
    spdlog::warn("from {}", "afar");
    spdlog::warn("msg=\"formatted\" by={}\n", "itself");
    Log(LogLevel::kInfo, "from here", {{"pid", "7"}});
    Log(LogLevel::kDebug, "too quiet");
    spdlog::debug("too quiet");
  }
  const std::string text = captured.text();
  EXPECT_THAT(text, MatchesRegex("time=[0-9T:.-]+Z level=warn msg=\"from afar\"\n"
                                 "time=[0-9T:.-]+Z level=warn msg=\"formatted\" by=itself \n"
                                 "time=[0-9T:.-]+Z level=info msg=\"from here\" pid=7\n"));
}

TEST(Logging, WritesJsonOfWhatBothWaysLog) {
  const CapturedStderr captured;
  {
    const Logging logging(LogLevel::kInfo, LogStyle::kJournal, LogFormat::kJson);
    spdlog::warn("from {}", "afar");
    spdlog::error("msg=\"formatted\" by={}\n", "itself");
    Log(LogLevel::kInfo, "from here", {{"pid", "7"}});
  }
  EXPECT_EQ(captured.text(),
            "<4>{\"msg\":\"from afar\"}\n<3>{\"msg\":\"formatted\",\"by\":\"itself\"}\n"
            "<6>{\"msg\":\"from here\",\"pid\":\"7\"}\n");
}

TEST(Logging, CanBeTurnedDown) {
  const CapturedStderr captured;
  {
    const Logging logging(LogLevel::kError, LogStyle::kJournal);
    Log(LogLevel::kWarn, "quiet");
    Log(LogLevel::kError, "loud");
  }
  EXPECT_EQ(captured.text(), "<3>msg=\"loud\"\n");
}

TEST(Logging, IsWrittenUpToAFlush) {
  const CapturedStderr captured;
  const Logging logging(LogLevel::kInfo, LogStyle::kJournal);
  for (int i = 0; i < 1000; ++i) Log(LogLevel::kInfo, "before");
  Log(LogLevel::kInfo, "last");
  Logging::Flush();
  EXPECT_THAT(captured.text(), HasSubstr("last"));
}

TEST(Logging, NeverWaitsForItsReader) {
  ::signal(SIGPIPE, SIG_IGN);
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const wire::UniqueFd before(::dup(STDERR_FILENO));
  ::dup2(pipe[1], STDERR_FILENO);
  {
    const Logging logging(LogLevel::kInfo, LogStyle::kJournal);
    const std::string large(1000, 'x');
    for (int i = 0; i < 20'000; ++i) Log(LogLevel::kInfo, large);  // far more than a pipe takes
    // Lets the writer's thread go: nobody reads any more.
    const wire::UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    ::dup2(null.get(), STDERR_FILENO);
    ::close(pipe[0]);
    ::close(pipe[1]);
  }
  EXPECT_EQ(::dup2(before.get(), STDERR_FILENO), STDERR_FILENO);
}

TEST(LogStyleOfStderr, IsTheJournalsOnlyForTheJournalsStream) {
  struct stat status;
  ASSERT_EQ(::fstat(STDERR_FILENO, &status), 0);
  Surroundings around;
  EXPECT_EQ(StyleOfStderr(around), LogStyle::kPlain);
  around.environment["JOURNAL_STREAM"] = "1:2";
  EXPECT_EQ(StyleOfStderr(around), LogStyle::kPlain);
  around.environment["JOURNAL_STREAM"] =
      std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
  EXPECT_EQ(StyleOfStderr(around), LogStyle::kJournal);
}

}  // namespace
}  // namespace modeld::app
