// A wall clock that is set, by hours, to and fro: it decides nothing.

#include <gmock/gmock.h>
#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "support/bytes.h"
#include "support/checkpoint_writer.h"
#include "support/lease_holder.h"
#include "support/processes.h"
#include "under_faults.h"
#include "unit/modelctl/run_modelctl.h"
#include "wire/error.h"

namespace modeld::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::Not;
using ::testing::StartsWith;

// Where the clock goes from where it is.
const std::vector<hours> kJumps = {hours(7), hours(-7), hours(24 * 400), hours(0), hours(-30)};

class WallClock : public UnderFaults {
 protected:
  // By the last time that it tells.
  milliseconds DaemonIsAhead() {
    int64_t last_ms = 0;
    const auto list = admin().List();
    EXPECT_TRUE(list.ok()) << list.status();
    for (const v1::Residency& residency : *list) {
      last_ms = std::max(last_ms, google::protobuf::util::TimeUtil::TimestampToMilliseconds(
                                      residency.ready_time()));
    }
    return milliseconds(last_ms) - std::chrono::duration_cast<milliseconds>(
                                       std::chrono::system_clock::now().time_since_epoch());
  }
  // What modelctl says, by the daemon's clock or by one that is right.
  std::string Ask(std::vector<std::string> args, bool by_its_clock) {
    ModelctlOptions options;
    if (by_its_clock) options.env = faults().Environment();
    options.env.push_back("MODELD_ENDPOINT=" + daemon().endpoint());
    const ModelctlResult result = RunModelctl(std::move(args), options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
  static auto HasNoNumberBelowZero() { return Not(testing::ContainsRegex("(^|[ \n])-[0-9]")); }
};

TEST_F(WallClock, ThatJumpsIsTheDaemonsOwn) {
  StartDaemon();
  faults().ShiftWallClock(hours(7));
  ASSERT_TRUE(admin().Preload("m.safetensors").ok());
  EXPECT_GT(DaemonIsAhead(), hours(6)) << "the test does not reach the daemon's clock";
  ASSERT_TRUE(admin().Evict("m.safetensors").ok());
  faults().Clear();
  ExpectNothingLeft();
}

TEST_F(WallClock, ThatJumpsEndsNoWaitEarlyAndNoneLate) {
  StartDaemon({.host_capacity = "24MiB"});
  auto holder = LeaseHolder::Connect(daemon().runtime_dir());
  ASSERT_TRUE(holder.ok());
  ASSERT_TRUE((*holder)->Acquire("m.safetensors").ok());
  WriteCheckpoint(daemon().root() + "/waits.safetensors", LargeSpec(16 * kMiB, 16, 3));
  for (const hours jump : kJumps) {
    auto waiting = LeaseHolder::Connect(daemon().runtime_dir());
    ASSERT_TRUE(waiting.ok());
    v1::AcquireRequest request;
    request.mutable_spec()->set_reference("waits.safetensors");
    request.set_wait_for_room(true);
    request.mutable_wait_timeout()->set_nanos(400'000'000);
    grpc::ClientContext context;
    context.AddMetadata("modeld-session-bin", (*waiting)->session());
    const auto start = steady_clock::now();
    const auto stream = (*waiting)->rpc().residency().Acquire(&context, request);
    v1::AcquireUpdate update;
    ASSERT_TRUE(stream->Read(&update)) << "it is told that it waits";
    faults().ShiftWallClock(jump);
    while (stream->Read(&update)) EXPECT_FALSE(update.has_granted());
    const absl::Status ended = FromGrpc(stream->Finish());
    EXPECT_EQ(wire::GetReason(ended), wire::Reason::kDeadlineExceeded) << ended;
    EXPECT_THAT(steady_clock::now() - start, AllOf(Ge(milliseconds(400)), Lt(seconds(5))))
        << jump.count() << " hours";
  }
  (*holder)->LetGo();
  holder->reset();
  faults().Clear();
  ASSERT_TRUE(Eventually([&] { return admin().Evict("m.safetensors").ok(); }));
  ExpectNothingLeft();
}

TEST_F(WallClock, ThatJumpsKeepsLeasesSessionsAndAgents) {
  StartDaemon();
  const pid_t agent = daemon().agent_pid();
  for (const hours jump : kJumps) {
    faults().ShiftWallClock(jump);
    // A worker whose own clock jumps with the daemon's.
    WorkerProcess worker(daemon().endpoint(), faults().Environment());
    ASSERT_THAT(worker.Ask("acquire m.safetensors"), StartsWith("ok "));
    EXPECT_EQ(worker.Ask("state"), "state HELD");
    ExpectHolderUnharmed();
    worker.Finish();
    ASSERT_TRUE(Eventually([&] { return admin().Evict("m.safetensors").ok(); }));
  }
  EXPECT_EQ(daemon().agent_pid(), agent);
  faults().Clear();
  ExpectNothingLeft();
}

TEST_F(WallClock, ThatJumpsLeavesEventsInOrderAndShowsNoAgeBelowZero) {
  StartDaemon();
  for (const hours jump : kJumps) {
    faults().ShiftWallClock(jump);
    LoadAndEvict();
    ASSERT_TRUE(admin().Preload("m.safetensors").ok());
    for (const bool by_its_clock : {true, false}) {
      EXPECT_THAT(Ask({"ps", "-o", "wide"}, by_its_clock),
                  AllOf(HasSubstr("READY"), HasNoNumberBelowZero()));
      EXPECT_THAT(Ask({"leases"}, by_its_clock), HasNoNumberBelowZero());
    }
    ASSERT_TRUE(admin().Evict("m.safetensors").ok());
  }
  faults().Clear();

  const auto events = admin().Events(10'000);
  ASSERT_TRUE(events.ok()) << events.status();
  uint64_t last = events->front().sequence();
  for (size_t i = 1; i < events->size(); ++i) {
    EXPECT_EQ((*events)[i].sequence(), last + 1);
    last = (*events)[i].sequence();
  }
  ExpectNothingLeft();
}

TEST_F(WallClock, ThatJumpsEndsNoAgentThatWaitsForTheNextModeld) {
  StartDaemon({.config = "agent_grace = \"30s\"\n"});
  const pid_t agent = daemon().agent_pid();
  daemon().ExpectOrphans();
  daemon().Kill(SIGKILL);
  faults().ShiftWallClock(hours(7));
  daemon().Start();
  ASSERT_TRUE(daemon().running());
  EXPECT_EQ(daemon().agent_pid(), agent);
  ASSERT_TRUE(Eventually([&] {
    const auto info = RpcClient(daemon().socket()).ServerInfo();
    return info.ok() && info->lease_count() == 1;
  }));
  ExpectHolderUnharmed();
  faults().Clear();
}

}  // namespace
}  // namespace modeld::test
