// What operators wish, told by modelctl to a real daemon while real workers hold what it is about:
// on each device.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/checkpoint_writer.h"
#include "support/each_device.h"
#include "support/processes.h"
#include "unit/modelctl/run_modelctl.h"

namespace modeld::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

class PolicyTest : public OnEachDevice {
 protected:
  // Room for one of the checkpoints.
  void SetUp() override { Start("3MiB"); }
  void Start(const std::string& capacity) {
    StartDaemon({.host_capacity = capacity});
    for (int i = 1; i <= 3; ++i) {
      const std::string name = "/v" + std::to_string(i) + ".safetensors";
      WriteCheckpoint(daemon().root() + name, SmallSpec(i));
    }
  }

  ModelctlOptions WithEndpoint(ModelctlOptions options = {}) {
    options.env.push_back("MODELD_ENDPOINT=" + daemon().endpoint());
    return options;
  }
  ModelctlResult Run(std::vector<std::string> args) {
    return RunModelctl(std::move(args), WithEndpoint());
  }
  std::string RunOk(std::vector<std::string> args) {
    const ModelctlResult result = Run(std::move(args));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  json RunJson(std::vector<std::string> args) {
    args.insert(args.begin(), {"-o", "json"});
    return json::parse(RunOk(std::move(args)));
  }
  // The error's two lines.
  std::string RunFailing(std::vector<std::string> args, int exit_code) {
    const ModelctlResult result = Run(std::move(args));
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    EXPECT_THAT(result.err, MatchesRegex("modelctl: [^\n]+\n  next: [^\n]+\n"));
    return result.err;
  }
  // The id of the residency.
  std::string Load(const std::string& reference, std::vector<std::string> more = {}) {
    std::vector<std::string> args = {"-o", "name", "load", reference, "--device", device()};
    args.insert(args.end(), more.begin(), more.end());
    std::string id = RunOk(std::move(args));
    if (!id.empty()) id.pop_back();
    return id;
  }
  void SetAlias(const std::string& reference) {
    RunOk({"alias", "set", "prod", reference, "--device", device()});
  }
  WorkerProcess Holding(const std::string& reference) {
    WorkerProcess worker = NewWorker();
    EXPECT_THAT(worker.Ask("acquire " + reference + " w/s/p"), StartsWith("ok "));
    return worker;
  }
  static bool Reaches(WorkerProcess& worker, const std::string& state) {
    return Eventually([&] { return worker.Ask("state") == "state " + state; });
  }
  bool IsResident(const std::string& id) {
    return RunOk({"-o", "name", "ps"}).find(id) != std::string::npos;
  }
  bool Goes(const std::string& id) {
    return Eventually([&] { return !IsResident(id); });
  }
  bool ComesToNoLeases() {
    return Eventually([&] { return LeaseCount() == 0; });
  }
  // Of what ended, why.
  std::string CauseOf(const std::string& id) {
    const json why = RunJson({"why", id});
    for (const json& event : why["events"]) {
      if (event["type"] == "RESIDENCY_DRAINING") return event["cause"];
    }
    return "";
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, PolicyTest, testing::ValuesIn(EachDevice()), DeviceKindName);

// ---- room ----

TEST_P(PolicyTest, ALoadWaitsForRoomIfToldToAndSaysWhoHasIt) {
  WorkerProcess holder = Holding("v1.safetensors");
  const std::string pid = "pid " + std::to_string(holder.pid());
  EXPECT_THAT(RunFailing({"load", "v2.safetensors", "--device", device()}, 6),
              AllOf(HasSubstr(pid), HasSubstr("--wait-for-room")));
  EXPECT_THAT(RunFailing({"load", "v2.safetensors", "--device", device(), "--wait-for-room",
                          "--timeout", "100ms"},
                         7),
              HasSubstr("v2.safetensors"));

  Modelctl load({"load", "v2.safetensors", "--device", device(), "--wait-for-room"},
                WithEndpoint({.terminal = true, .columns = 200}));
  EXPECT_TRUE(load.WaitForOut("waits for 2.0 MiB")) << load.out();
  EXPECT_TRUE(load.WaitForOut(pid + " (")) << load.out();
  EXPECT_EQ(holder.Ask("release"), "released");
  EXPECT_EQ(load.Wait().exit_code, 0);
  EXPECT_THAT(RunOk({"ps"}), AllOf(HasSubstr("v2.safetensors"), Not(HasSubstr("v1.safetensors"))));
}

TEST_P(PolicyTest, AWorkerThatWaitsForRoomIsGrantedWhenTheHolderDies) {
  WorkerProcess holder = Holding("v1.safetensors");
  WorkerProcess waiting = NewWorker();
  waiting.Send("await v2.safetensors");
  EXPECT_TRUE(Eventually([&] {
    const json listed = RunJson({"ps"})["residencies"];
    return listed.size() == 2 && listed[1]["waiter_count"] == 1;
  }));
  holder.Kill();
  EXPECT_THAT(waiting.Receive(), StartsWith("ok "));
}

// ---- keep-alive ----

TEST_P(PolicyTest, WithKeepAliveZeroItGoesWithItsLastRelease) {
  WorkerProcess worker = Holding("v1.safetensors");
  const std::string id = Load("v1.safetensors", {"--keep-alive", "0"});
  EXPECT_TRUE(IsResident(id)) << "it is held";
  EXPECT_EQ(worker.Ask("release"), "released");
  EXPECT_TRUE(Goes(id));
  EXPECT_EQ(CauseOf(id), "expired");
}

TEST_P(PolicyTest, ItExpiresWhenNobodyCameForAsLongAsItsKeepAliveSays) {
  const std::string id = Load("v1.safetensors", {"--keep-alive", "1h"});
  EXPECT_THAT(RunOk({"ps"}), HasSubstr("in 59m"));
  EXPECT_THAT(RunOk({"get", id}),
              AllOf(ContainsRegex("Keep-alive +60m\n"), HasSubstr("Expires  ")));
  EXPECT_EQ(Load("v1.safetensors", {"--keep-alive", "1s"}), id);
  EXPECT_TRUE(Goes(id));
  EXPECT_EQ(CauseOf(id), "expired");
  EXPECT_THAT(RunOk({"events"}), HasSubstr("expired  its keep-alive is over"));

  const std::string again = Load("v1.safetensors", {"--keep-alive", "forever"});
  EXPECT_FALSE(RunJson({"get", again})["residency"].contains("expire_time"));
}

// ---- evict ----

TEST_P(PolicyTest, ADrainAsksTheHolderAndWaitsUntilItLetsGo) {
  WorkerProcess worker = Holding("v1.safetensors");
  const std::string id = Load("v1.safetensors");
  EXPECT_THAT(RunFailing({"evict", id}, 5), HasSubstr("modelctl evict --drain " + id));
  EXPECT_TRUE(Reaches(worker, "HELD"));

  Modelctl drain({"-o", "json", "evict", "--drain", id}, WithEndpoint());
  EXPECT_TRUE(Reaches(worker, "DRAINING"));
  EXPECT_EQ(RunJson({"get", id})["residency"]["state"], "DRAINING");
  EXPECT_THAT(RunOk({"why", id}), HasSubstr("pid " + std::to_string(worker.pid())));
  EXPECT_EQ(drain.out(), "") << "it waits";
  EXPECT_EQ(worker.Ask("release"), "released");
  const ModelctlResult drained = drain.Wait();
  EXPECT_EQ(drained.exit_code, 0) << drained.err;
  EXPECT_EQ(json::parse(drained.out)["freed_bytes"], "2097152");
  EXPECT_EQ(CauseOf(id), "operator");
}

TEST_P(PolicyTest, ADrainThatIsNotWaitedForGoesOn) {
  WorkerProcess worker = Holding("v1.safetensors");
  const std::string id = Load("v1.safetensors");
  EXPECT_THAT(RunFailing({"evict", "--drain", "--timeout", "100ms", id}, 5),
              AllOf(HasSubstr("not handed out any more"),
                    HasSubstr("pid " + std::to_string(worker.pid()))));
  Modelctl again({"evict", "--drain", id}, WithEndpoint({.terminal = true}));
  EXPECT_TRUE(again.WaitForOut("waits until its holders have let go")) << again.out();
  again.Signal(SIGINT);
  const ModelctlResult interrupted = again.Wait();
  EXPECT_EQ(interrupted.exit_code, 130);
  EXPECT_THAT(interrupted.out, HasSubstr("goes on draining"));
  EXPECT_TRUE(IsResident(id));
  EXPECT_EQ(worker.Ask("release"), "released");
  EXPECT_TRUE(Goes(id));
}

TEST_P(PolicyTest, ADryRunChangesNothingAndRefusesWhatEvictWould) {
  const std::string id = Load("v1.safetensors", {"--pin"});
  EXPECT_THAT(RunFailing({"evict", "--dry-run", id}, 5), HasSubstr("modelctl unpin " + id));
  RunOk({"unpin", id});
  EXPECT_THAT(RunOk({"evict", "--dry-run", id}), HasSubstr(": 2.0 MiB would come back\n"));

  WorkerProcess worker = Holding("v1.safetensors");
  EXPECT_THAT(RunFailing({"evict", "--dry-run", id}, 5), HasSubstr("--drain"));
  const json drained = RunJson({"evict", "--dry-run", "--drain", id});
  EXPECT_EQ(drained["freed_bytes"], "2097152");
  EXPECT_EQ(drained["holders"][0]["pid"], worker.pid());
  EXPECT_EQ(RunJson({"get", id})["residency"]["state"], "READY");
  EXPECT_EQ(worker.Ask("state"), "state HELD");
  RunFailing({"evict", "--dry-run", "nothing"}, 4);
}

// ---- why ----

TEST_P(PolicyTest, WhySaysWhoHoldsItAndWhyItWent) {
  EXPECT_THAT(RunFailing({"why", "v1.safetensors"}, 4), HasSubstr("v1.safetensors"));
  const std::string id = Load("v1.safetensors");
  EXPECT_THAT(RunOk({"why", id}), AllOf(HasSubstr("Nobody has held it yet.\n"),
                                        HasSubstr("It would be the first to go"),
                                        HasSubstr("RESIDENCY_READY"), HasSubstr("NEXT_TO_GO")));
  {
    WorkerProcess worker = Holding("v1.safetensors");
    EXPECT_THAT(RunOk({"why", "v1.safetensors"}),
                HasSubstr("held by pid " + std::to_string(worker.pid())));
  }
  EXPECT_TRUE(ComesToNoLeases());
  Load("v2.safetensors");  // there is room for one
  EXPECT_THAT(RunOk({"explain", id}),
              AllOf(HasSubstr("another model needed the room"), HasSubstr("v2.safetensors")));
  EXPECT_EQ(RunOk({"-o", "name", "why", id}), id + "\n");
  EXPECT_EQ(CauseOf(id), "room");
}

// ---- aliases ----

class VersionsTest : public PolicyTest {
 protected:
  void SetUp() override { Start("16MiB"); }
};
INSTANTIATE_TEST_SUITE_P(Devices, VersionsTest, testing::ValuesIn(EachDevice()), DeviceKindName);

TEST_P(VersionsTest, AnAliasMovesUnderItsHoldersWhoAreToldAndTheOldVersionGoesWithThem) {
  EXPECT_EQ(RunOk({"alias"}), "ALIAS  REFERENCE  DEVICE  DIGEST  AGE\n");
  SetAlias("v1.safetensors");
  WorkerProcess before = Holding("prod");
  const std::string old_bytes = before.Ask("checksum");
  const std::string old_id = RunJson({"get", "prod"})["residency"]["id"];
  EXPECT_THAT(RunOk({"ps"}), HasSubstr("prod"));

  const json set = RunJson({"alias", "set", "prod", "v2.safetensors", "--device", device()});
  EXPECT_EQ(set["alias"]["spec"]["reference"], "v2.safetensors");
  EXPECT_EQ(set["superseded"][0]["id"], old_id);
  EXPECT_EQ(set["told_holders"], 1);
  EXPECT_TRUE(Reaches(before, "SUPERSEDED"));
  EXPECT_EQ(before.Ask("checksum"), old_bytes) << "what it has mapped stays";
  EXPECT_THAT(RunOk({"ps"}), HasSubstr("READY, superseded"));
  EXPECT_THAT(RunOk({"get", old_id}), HasSubstr("Superseded by  another version as prod"));

  WorkerProcess after = Holding("prod");
  EXPECT_NE(after.Ask("checksum"), old_bytes);
  EXPECT_EQ(before.Ask("release"), "released");
  EXPECT_TRUE(Goes(old_id));
  EXPECT_EQ(CauseOf(old_id), "superseded");
  EXPECT_EQ(after.Ask("state"), "state HELD");
}

TEST_P(VersionsTest, AnAliasIsASelectorAndWhatItNamesCanBeRolledBack) {
  SetAlias("v1.safetensors");
  const std::string first = RunJson({"get", "prod"})["residency"]["id"];
  WorkerProcess worker = Holding("prod");
  SetAlias("v2.safetensors");
  EXPECT_TRUE(Reaches(worker, "SUPERSEDED"));
  EXPECT_THAT(RunOk({"alias", "set", "prod", "v1.safetensors", "--device", device()}),
              AllOf(StartsWith("prod names " + first.substr(0, 8) + " v1.safetensors"),
                    HasSubstr("it replaces "), HasSubstr(" v2.safetensors on ")));
  EXPECT_EQ(worker.Ask("release"), "released");
  EXPECT_TRUE(ComesToNoLeases());
  EXPECT_EQ(RunJson({"pin", "prod"})["residency"]["id"], first) << "it is back, and stays";
  EXPECT_EQ(RunJson({"unpin", "prod"})["residency"]["id"], first);
  EXPECT_EQ(RunJson({"leases", "prod"})["leases"].size(), 0u);
  EXPECT_THAT(RunOk({"why", "prod"}), HasSubstr("It stands under the name prod.\n"));
  if (!on_gpu()) {  // there it takes a driver
    EXPECT_EQ(RunJson({"verify", "prod"})["residency_id"], first);
    EXPECT_EQ(RunJson({"digest", "prod"})["residency_id"], first);
  }
  EXPECT_TRUE(ComesToNoLeases());
  EXPECT_EQ(RunJson({"evict", "prod"})["residency"]["id"], first);
  EXPECT_THAT(RunFailing({"get", "prod"}, 4), HasSubstr("modelctl load prod"));
  EXPECT_NE(Load("prod"), "");
}

TEST_P(VersionsTest, ARemovedAliasNamesNothingAndItsHoldersKeepWhatTheyHave) {
  SetAlias("v1.safetensors");
  WorkerProcess worker = Holding("prod");
  EXPECT_EQ(RunOk({"alias", "ls", "-o", "name"}), "prod\n");
  EXPECT_EQ(RunOk({"alias", "rm", "prod"}), "removed prod, which named v1.safetensors\n");
  EXPECT_EQ(RunJson({"alias", "ls"})["aliases"].size(), 0u);
  EXPECT_EQ(worker.Ask("state"), "state HELD");
  EXPECT_THAT(RunFailing({"alias", "rm", "prod"}, 4), HasSubstr("modelctl alias ls"));
  EXPECT_EQ(NewWorker().Ask("acquire prod"), "error CHECKPOINT_NOT_FOUND");
}

TEST_P(VersionsTest, AVersionThatCannotBeLoadedLeavesTheAliasAsItWas) {
  SetAlias("v1.safetensors");
  RunFailing({"alias", "set", "prod", "nothing.safetensors", "--device", device()}, 4);
  RunFailing({"alias", "set", "prod", "v2.safetensors", "--device", device(), "--expect",
              "sha256:" + std::string(64, '0')},
             1);
  RunFailing({"alias", "set", "not/a/name", "v2.safetensors", "--device", device()}, 2);
  EXPECT_EQ(RunJson({"alias"})["aliases"][0]["spec"]["reference"], "v1.safetensors");
}

}  // namespace
}  // namespace modeld::test
