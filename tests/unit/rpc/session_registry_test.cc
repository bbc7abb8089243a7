#include "rpc/session_registry.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

namespace modeld::rpc {
namespace {

const wire::PeerCredentials kMe{.pid = ::getpid(), .uid = ::getuid(), .gid = ::getgid()};

TEST(SessionRegistry, FindsASessionByItsSecretUntilItIsClosed) {
  SessionRegistry registry(10);
  const auto session = registry.Open(kMe);
  ASSERT_TRUE(session.ok());
  EXPECT_EQ((*session)->id.size(), kSessionIdBytes);
  EXPECT_EQ((*session)->pid, ::getpid());
  EXPECT_EQ(registry.Find((*session)->id), *session);
  registry.Close(**session);
  EXPECT_EQ(registry.Find((*session)->id), nullptr);
}

TEST(SessionRegistry, FindsNothingForWhatItDidNotGiveOut) {
  SessionRegistry registry(10);
  const auto session = registry.Open(kMe);
  ASSERT_TRUE(session.ok());
  std::string other = (*session)->id;
  other.back() = static_cast<char>(other.back() + 1);
  EXPECT_EQ(registry.Find(other), nullptr);
  EXPECT_EQ(registry.Find(""), nullptr);
  EXPECT_EQ(registry.Find((*session)->id.substr(0, 8)), nullptr);
}

TEST(SessionRegistry, NamesTheProgramAsTheKernelDoes) {
  SessionRegistry registry(10);
  EXPECT_EQ((*registry.Open(kMe))->program, "rpc_test");
  EXPECT_EQ((*registry.Open({.pid = -5, .uid = 0, .gid = 0}))->program, "");
}

TEST(SessionRegistry, NeverUsesANumberOrASecretTwice) {
  SessionRegistry registry(1000);
  std::set<std::string> ids;
  std::set<uint64_t> numbers;
  for (int i = 0; i < 1000; ++i) {
    const auto session = registry.Open(kMe);
    ASSERT_TRUE(session.ok());
    ids.insert((*session)->id);
    numbers.insert((*session)->number);
    registry.Close(**session);
  }
  EXPECT_EQ(ids.size(), 1000u);
  EXPECT_EQ(numbers.size(), 1000u);
}

TEST(SessionRegistry, RefusesOneOverItsLimitUntilAnotherCloses) {
  SessionRegistry registry(2);
  const auto first = registry.Open(kMe);
  ASSERT_TRUE(registry.Open(kMe).ok());
  EXPECT_EQ(registry.Open(kMe).status().code(), absl::StatusCode::kResourceExhausted);
  registry.Close(**first);
  EXPECT_TRUE(registry.Open(kMe).ok());
  EXPECT_EQ(registry.size(), 2u);
}

}  // namespace
}  // namespace modeld::rpc
