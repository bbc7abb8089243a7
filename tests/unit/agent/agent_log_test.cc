#include "agent/agent_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>

#include <string>

namespace modeld::agent {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// The lines of one warning.
std::string LogWarning(const std::string& format) {
  ::unsetenv("JOURNAL_STREAM");
  spdlog::drop("agent");  // of the test before
  StartLogging("modeld-agent-host", "info", format);
  ::testing::internal::CaptureStderr();
  spdlog::warn("msg=\"full\"");
  spdlog::debug("msg=\"below the level\"");
  return ::testing::internal::GetCapturedStderr();
}

TEST(AgentLog, NamesLevelsAsModeldDoes) {
  EXPECT_THAT(LogWarning("text"),
              AllOf(StartsWith("time="),
                    EndsWith("Z level=warn program=modeld-agent-host msg=\"full\"\n")));
  EXPECT_THAT(LogWarning("json"), HasSubstr("\"level\":\"warn\""));
}

}  // namespace
}  // namespace modeld::agent
