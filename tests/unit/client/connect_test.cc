#include <unistd.h>

#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modeld/client.h"
#include "scripted_daemon.h"
#include "support/thrown_error.h"

namespace modeld {
namespace {

using test::ThrownBy;
using ::testing::HasSubstr;
using testing::ScriptedDaemon;

Error ConnectError(const std::string& endpoint) {
  return ThrownBy([&] { Client::Connect(endpoint); });
}

// Sets a variable of the environment for a scope.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  ~Environment() { unsetenv(name_); }

 private:
  const char* name_;
};

TEST(Connect, RefusesWhatIsNoEndpoint) {
  for (const std::string endpoint :
       {"tcp://localhost:80", "unix:relative/modeld.sock", "/run/modeld/", "unix:"}) {
    const Error error = ConnectError(endpoint);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << endpoint;
    EXPECT_EQ(error.reason(), "FIELD_INVALID") << endpoint;
    EXPECT_THAT(error.what(), HasSubstr(endpoint));
  }
}

TEST(Connect, RefusesAPathThatNoSocketCanHave) {
  const Error error = ConnectError("/" + std::string(120, 'x') + "/modeld.sock");
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("107"));
}

TEST(Connect, SaysThatNobodyListensAndWhatToDo) {
  const Error error = ConnectError("/tmp/there-is-no-modeld-here/modeld.sock");
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(error.reason(), "DAEMON_UNREACHABLE");
  EXPECT_THAT(error.what(), HasSubstr("/tmp/there-is-no-modeld-here/modeld.sock"));
  EXPECT_FALSE(error.hint().empty());
  EXPECT_THAT(error.what(), HasSubstr(error.hint()));
}

TEST(Connect, TakesThePathOrTheUriOrTheEnvironment) {
  ScriptedDaemon daemon;
  const std::string uri = "unix://" + daemon.socket_path();
  EXPECT_EQ(Client::Connect(daemon.socket_path())->endpoint(), uri);
  EXPECT_EQ(Client::Connect(uri)->endpoint(), uri);
  const Environment environment("MODELD_ENDPOINT", uri);
  EXPECT_EQ(Client::Connect()->endpoint(), uri);
}

TEST(Connect, FindsTheDaemonOfTheUser) {
  ScriptedDaemon daemon;
  const std::string dir = daemon.socket_path().substr(0, daemon.socket_path().rfind('/'));
  ASSERT_EQ(symlink(dir.c_str(), (dir + "/modeld").c_str()), 0);
  const Environment environment("XDG_RUNTIME_DIR", dir);
  if (access("/run/modeld/modeld.sock", F_OK) == 0) GTEST_SKIP() << "the machine has a modeld";
  EXPECT_EQ(Client::Connect()->endpoint(), "unix://" + dir + "/modeld/modeld.sock");
  unlink((dir + "/modeld").c_str());
}

TEST(Connect, PassesOnTheWordsOfARefusal) {
  ScriptedDaemon daemon;
  daemon.greeting = ScriptedDaemon::Greeting::kRefuse;
  const Error error = ConnectError(daemon.socket_path());
  EXPECT_EQ(error.code(), ErrorCode::kPermissionDenied);
  EXPECT_EQ(error.reason(), "PEER_NOT_ALLOWED");
  EXPECT_STREQ(error.what(), "uid 1234 is not in allow_uids; add it");
}

// It was killed while it had the connection; that is nothing that an operator has to allow.
TEST(Connect, ADaemonThatHangsUpWithoutAWordIsAwayAndNotForbidden) {
  ScriptedDaemon daemon;
  daemon.greeting = ScriptedDaemon::Greeting::kHangUp;
  const Error error = ConnectError(daemon.socket_path());
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(error.reason(), "DAEMON_UNREACHABLE");
  EXPECT_THAT(error.what(), HasSubstr("it has ended, or is stopping"));
}

TEST(Connect, CallsGarbageGarbage) {
  ScriptedDaemon daemon;
  daemon.greeting = ScriptedDaemon::Greeting::kGarbage;
  EXPECT_EQ(ConnectError(daemon.socket_path()).code(), ErrorCode::kDataLoss);
}

TEST(Connect, RefusesAnotherProtocol) {
  ScriptedDaemon daemon;
  daemon.greeting = ScriptedDaemon::Greeting::kOtherProtocol;
  const Error error = ConnectError(daemon.socket_path());
  EXPECT_EQ(error.code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(error.what(), HasSubstr("99"));
}

TEST(Connect, SharesTheConnectionsOfTheProcess) {
  ScriptedDaemon daemon;
  const auto first = Client::Connect(daemon.socket_path());
  const auto second = Client::Connect(daemon.socket_path());
  EXPECT_EQ(daemon.attach_connections(), 1);
}

TEST(Connect, ConnectsAnewAfterTheDaemonHasBeenRestarted) {
  ScriptedDaemon daemon;
  const auto first = Client::Connect(daemon.socket_path());
  daemon.Stop();
  EXPECT_EQ(ConnectError(daemon.socket_path()).code(), ErrorCode::kUnavailable);
  daemon.Start();
  EXPECT_NO_THROW(Client::Connect(daemon.socket_path()));
  EXPECT_NE(first->Acquire({.reference = "/m"}), nullptr);
}

}  // namespace
}  // namespace modeld
