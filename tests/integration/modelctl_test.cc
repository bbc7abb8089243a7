// Every verb of modelctl, as a process against a real daemon.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/lease_holder.h"
#include "support/processes.h"
#include "support/read_file.h"
#include "unit/modelctl/run_modelctl.h"

namespace modeld::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

std::vector<std::string> List(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

class ModelctlTest : public testing::Test {
 protected:
  ModelctlTest() : daemon({.host_capacity = "64MiB"}) {
    path = WriteCheckpoint(daemon.root() + "/m.safetensors", spec);
  }
  void SetUp() override { ASSERT_TRUE(daemon.running()); }

  ModelctlOptions WithEndpoint(ModelctlOptions options) const {
    options.env.push_back("MODELD_ENDPOINT=" + daemon.endpoint());
    return options;
  }
  ModelctlResult Run(std::vector<std::string> args, const ModelctlOptions& options = {}) const {
    return RunModelctl(std::move(args), WithEndpoint(options));
  }
  // Data on stdout, nothing on stderr, exit 0.
  std::string RunOk(std::vector<std::string> args) const {
    const ModelctlResult result = Run(std::move(args));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  json RunJson(std::vector<std::string> args) const {
    args.insert(args.begin(), {"-o", "json"});
    return json::parse(RunOk(std::move(args)));
  }
  // The error's two lines.
  std::string RunFailing(std::vector<std::string> args, int exit_code) const {
    const ModelctlResult result = Run(std::move(args));
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    EXPECT_THAT(result.err, MatchesRegex("modelctl: [^\n]+\n  next: [^\n]+\n"));
    return result.err;
  }
  // The id of the residency.
  std::string Load(const std::string& reference = "m.safetensors") const {
    std::string id = RunOk({"-o", "name", "load", reference});
    if (!id.empty()) id.pop_back();
    return id;
  }

  DaemonFixture daemon;
  const CheckpointSpec spec = SmallSpec();
  std::string path;
};

// ---- reading ----

TEST_F(ModelctlTest, HealthAndVersionAnswer) {
  EXPECT_EQ(RunOk({"health"}), "SERVING\n");
  EXPECT_EQ(RunJson({"health"})["status"], "SERVING");
  EXPECT_THAT(RunOk({"version"}), HasSubstr("pid " + std::to_string(daemon.pid())));
  const json version = RunJson({"version"});
  EXPECT_EQ(version["server"]["version"], version["client_version"]);
  EXPECT_EQ(version["server"]["runtime_dir"], daemon.runtime_dir());
  EXPECT_THAT(RunOk({"-o", "wide", "version"}), HasSubstr(daemon.root()));
}

TEST_F(ModelctlTest, PsListsInEveryFormat) {
  EXPECT_EQ(RunJson({"ps"})["residencies"].size(), 0u);
  const std::string id = Load();
  ASSERT_THAT(id, MatchesRegex("[0-9a-f]{16}"));

  EXPECT_THAT(RunOk({"ps"}),
              MatchesRegex("ID .*\n" + id.substr(0, 8) + ".*m.safetensors.*READY.*\n"));
  EXPECT_THAT(RunOk({"-o", "wide", "ls"}), HasSubstr(id));
  EXPECT_EQ(RunOk({"-o", "name", "list"}), id + "\n");
  const json r = RunJson({"ps"})["residencies"][0];
  EXPECT_EQ(r["id"], id);
  EXPECT_EQ(r["reference"], "m.safetensors");
  EXPECT_EQ(r["device"], "host");
  EXPECT_EQ(r["state"], "READY");
  EXPECT_EQ(r["size_bytes"], "2097152");
  EXPECT_EQ(r["own_bytes"], "2097152");
  EXPECT_EQ(r["shared_bytes"], "0");
  EXPECT_EQ(r["tensor_bytes"], std::to_string(spec.tensor_bytes()));
  EXPECT_EQ(r["lease_count"], 0);
  EXPECT_EQ(r["pinned"], false);
  EXPECT_EQ(r["instance"], "");
}

TEST_F(ModelctlTest, GetFindsByIdDigestAndReferenceAndTheirPrefixes) {
  const std::string id = Load();
  ASSERT_TRUE(Eventually([&] { return RunJson({"get", id})["residency"]["digest"] != ""; }));
  const std::string digest = RunJson({"get", id})["residency"]["digest"];
  for (const std::string& selector :
       {id, id.substr(0, 6), digest, digest.substr(0, 15), std::string("m.safetensors"), path}) {
    EXPECT_EQ(RunJson({"get", selector})["residency"]["id"], id) << selector;
  }
  EXPECT_THAT(RunOk({"get", id}), HasSubstr(digest));
  EXPECT_THAT(RunFailing({"get", "nothing"}, 4), HasSubstr("next: "));
}

TEST_F(ModelctlTest, LeasesAndTheTreeShowWhoUsesWhat) {
  const std::string id = Load();
  std::vector<std::unique_ptr<LeaseHolder>> holders;
  for (const char* scope : {"w/s/a/g1/n", "w/s/a/g2/n", "w/s/b/g1/n", ""}) {
    auto holder = LeaseHolder::Connect(daemon.runtime_dir());
    ASSERT_TRUE(holder.ok()) << holder.status();
    ASSERT_TRUE((*holder)->Acquire("m.safetensors", scope).ok());
    holders.push_back(*std::move(holder));
  }
  const json leases = RunJson({"leases", id})["leases"];
  ASSERT_EQ(leases.size(), 4u);
  EXPECT_EQ(leases[0]["residency_id"], id);
  EXPECT_EQ(leases[0]["pid"], getpid());
  EXPECT_EQ(leases[0]["uid"], geteuid());
  EXPECT_THAT(std::string(leases[0]["program"]), StartsWith("modelctl_integ"));
  EXPECT_EQ(leases[0]["scope"], "w/s/a/g1/n");
  EXPECT_THAT(RunOk({"leases"}), HasSubstr("w/s/a/g1/n"));
  EXPECT_THAT(RunOk({"-o", "wide", "leases"}), HasSubstr(id));

  const json tree = RunJson({"ps", "--tree"});
  EXPECT_EQ(tree["uses"], "4");
  EXPECT_EQ(tree["copies"], "1");
  EXPECT_EQ(tree["bytes"], std::to_string(spec.tensor_bytes()));
  EXPECT_EQ(tree["bytes_without_sharing"], std::to_string(4 * spec.tensor_bytes()));
  const std::string text = RunOk({"ps", "--tree"});
  EXPECT_THAT(text, HasSubstr("   ├─ a\n"));
  EXPECT_THAT(text, HasSubstr("(no scope)"));
  EXPECT_THAT(text, HasSubstr("4 uses, 1 copy, "));
  holders.clear();
  EXPECT_TRUE(Eventually([&] { return RunJson({"leases"})["leases"].empty(); }));
}

TEST_F(ModelctlTest, DevicesTellBytesAgentAndSandbox) {
  EXPECT_THAT(RunOk({"devices"}), HasSubstr("no checkpoint has been read"));
  Load();
  const json reply = RunJson({"devices"});
  const json host = reply["devices"][0];
  EXPECT_EQ(host["id"], "host");
  EXPECT_EQ(host["kind"], "HOST");
  EXPECT_EQ(host["capacity_bytes"], "67108864");
  EXPECT_EQ(host["resident_bytes"], "2097152");
  EXPECT_EQ(host["evictable_bytes"], "2097152");
  EXPECT_EQ(host["reserved_bytes"], "0");
  EXPECT_EQ(host["export"], "memfd");
  EXPECT_EQ(host["agent_pid"], daemon.agent_pid());
  EXPECT_EQ(reply["parser_sandbox"]["seccomp"], true);
  EXPECT_THAT(RunOk({"devices"}), HasSubstr("parser sandbox"));
  EXPECT_EQ(RunOk({"-o", "name", "devices"}), "host\n");
}

TEST_F(ModelctlTest, EventsTellTheHistory) {
  const std::string id = Load();
  const std::string names = RunOk({"-o", "name", "events"});
  EXPECT_THAT(names, HasSubstr("DAEMON_STARTED\n"));
  EXPECT_THAT(names, HasSubstr("LOAD_STARTED\n"));
  EXPECT_THAT(names, HasSubstr("RESIDENCY_READY\n"));
  EXPECT_THAT(RunOk({"events"}), HasSubstr(id.substr(0, 8)));

  Modelctl follow({"-o", "name", "events", "--follow", "--history", "0"}, WithEndpoint({}));
  // Events before it has subscribed are not its own: pin until one is seen.
  EXPECT_TRUE(Eventually([&] {
    RunOk({"pin", id});
    RunOk({"unpin", id});
    return follow.out().find("RESIDENCY_UNPINNED\n") != std::string::npos;
  }));
  follow.Signal(SIGINT);
  EXPECT_EQ(follow.Wait().exit_code, 130);
}

TEST_F(ModelctlTest, InspectReadsTheHeaderAndLoadsNothing) {
  const json checkpoint = RunJson({"inspect", "m.safetensors"})["checkpoint"];
  EXPECT_EQ(checkpoint["files"][0], path);
  EXPECT_EQ(checkpoint["format"], "safetensors");
  EXPECT_EQ(checkpoint["tensor_count"], std::to_string(spec.tensors.size()));
  std::string names;
  for (const TensorSpec& tensor : spec.tensors) names += tensor.name + "\n";
  EXPECT_EQ(RunOk({"-o", "name", "inspect", path, "--tensors"}), names) << "in file order";
  EXPECT_EQ(RunOk({"-o", "name", "ps", "--all"}), "");
  EXPECT_THAT(RunFailing({"inspect", "nothing.safetensors"}, 4), HasSubstr("nothing.safetensors"));
}

// ---- operating ----

TEST_F(ModelctlTest, LoadPinEvictAndUnpinFollowEachOther) {
  const std::string id = Load();
  EXPECT_THAT(RunOk({"pin", id.substr(0, 8)}), StartsWith("pinned " + id.substr(0, 8)));
  EXPECT_THAT(RunFailing({"evict", id}, 5), HasSubstr("modelctl unpin " + id));
  EXPECT_EQ(RunJson({"unpin", "m.safetensors"})["residency"]["pinned"], false);
  const json evicted = RunJson({"evict", id});
  EXPECT_EQ(evicted["freed_bytes"], "2097152");
  EXPECT_EQ(RunOk({"-o", "name", "ps"}), "");
  EXPECT_EQ(RunJson({"ps", "-a"})["residencies"][0]["state"], "EVICTED");
  EXPECT_EQ(RunJson({"load", path, "--pin"})["pinned"], true);
}

TEST_F(ModelctlTest, EvictRefusesWhatIsLeasedAndNamesTheHolder) {
  const std::string id = Load();
  auto holder = LeaseHolder::Connect(daemon.runtime_dir());
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE((*holder)->Acquire("m.safetensors", "w/s").ok());
  EXPECT_THAT(RunFailing({"evict", id}, 5), HasSubstr("pid " + std::to_string(getpid())));
}

TEST_F(ModelctlTest, LoadMakesSeparateCopiesOnPurpose) {
  const std::string shared = Load();
  EXPECT_EQ(Load(path), shared) << "another name for the same file";
  const json canary = RunJson({"load", "m.safetensors", "--instance", "canary"});
  EXPECT_EQ(canary["instance"], "canary");
  EXPECT_NE(canary["id"], shared);
}

TEST_F(ModelctlTest, LoadFailuresHaveTheirExitCodes) {
  EXPECT_THAT(RunFailing({"load", "nothing.safetensors"}, 4), HasSubstr("nothing.safetensors"));
  const TempDir elsewhere;
  WriteCheckpoint(elsewhere / "m.safetensors", spec);
  EXPECT_THAT(RunFailing({"load", elsewhere / "m.safetensors"}, 5), HasSubstr("root"));
  std::ofstream(daemon.root() + "/bad.safetensors") << "not a checkpoint at all";
  EXPECT_THAT(RunFailing({"load", "bad.safetensors"}, 1), HasSubstr("bad.safetensors"));
  WriteCheckpoint(daemon.root() + "/big.safetensors", LargeSpec(100 << 20));
  EXPECT_THAT(RunFailing({"load", "big.safetensors"}, 6), HasSubstr("bytes"));
  RunFailing({"load", "m.safetensors", "--device", "GPU-0000"}, 1);
  EXPECT_THAT(RunOk({"ps", "--all"}), HasSubstr("CHECKPOINT_MALFORMED"));
}

TEST_F(ModelctlTest, CtrlCOnALoadCancelsIt) {
  // A load that does not get on: the agent stands still.
  ASSERT_EQ(kill(daemon.agent_pid(), SIGSTOP), 0);
  Modelctl load({"load", "m.safetensors"}, WithEndpoint({}));
  EXPECT_TRUE(Eventually([&] {
    const json listed = RunJson({"ps"})["residencies"];
    return !listed.empty() && listed[0]["state"] == "LOADING";
  }));
  load.Signal(SIGINT);
  const ModelctlResult result = load.Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, HasSubstr("interrupted"));
  EXPECT_TRUE(Eventually([&] { return RunJson({"ps"})["residencies"][0]["waiter_count"] == 0; }));
  ASSERT_EQ(kill(daemon.agent_pid(), SIGCONT), 0);
  // Cancelled in time, or let go at once because nobody waits for it: the agent may be quicker.
  EXPECT_TRUE(Eventually([&] { return RunOk({"-o", "name", "ps"}).empty(); }));
  EXPECT_TRUE(Eventually([&] {
    const json host = RunJson({"devices"})["devices"][0];
    return host["reserved_bytes"] == "0" && host["resident_bytes"] == "0";
  }));
}

TEST_F(ModelctlTest, ALoadIsGivenUpAtTheTimeout) {
  ASSERT_EQ(kill(daemon.agent_pid(), SIGSTOP), 0);
  EXPECT_THAT(RunFailing({"--timeout", "200ms", "load", "m.safetensors"}, 7),
              HasSubstr("m.safetensors"));
  ASSERT_EQ(kill(daemon.agent_pid(), SIGCONT), 0);
}

TEST_F(ModelctlTest, NoWaitReturnsWhileItLoads) {
  ASSERT_EQ(kill(daemon.agent_pid(), SIGSTOP), 0);
  const std::string state = RunJson({"load", "m.safetensors", "--no-wait"})["state"];
  EXPECT_THAT(state, testing::AnyOf("PENDING", "LOADING"));
  ASSERT_EQ(kill(daemon.agent_pid(), SIGCONT), 0);
  EXPECT_TRUE(Eventually([&] { return RunJson({"ps"})["residencies"][0]["state"] == "READY"; }));
}

TEST_F(ModelctlTest, ADaemonThatStopsIsUnreachable) {
  daemon.Stop();
  for (const char* verb : {"ps", "health", "devices"}) {
    EXPECT_THAT(RunFailing({verb}, 3), HasSubstr(daemon.socket())) << verb;
  }
  EXPECT_THAT(RunFailing({"load", "x"}, 3),
              HasSubstr("modeld --runtime-dir " + daemon.runtime_dir()));
}

TEST_F(ModelctlTest, WatchingEndsWhenTheDaemonGoes) {
  daemon.ExpectOrphans();
  const std::string id = Load();
  Modelctl watch({"-o", "name", "ps", "--watch", "20ms"}, WithEndpoint({}));
  EXPECT_TRUE(watch.WaitForOut(id));
  EXPECT_TRUE(daemon.Kill(SIGKILL).has_value());
  const ModelctlResult result = watch.Wait();
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr(daemon.socket()));
  EXPECT_THAT(result.err, HasSubstr("\n  next: "));
}

TEST_F(ModelctlTest, VerifyAgreesWithTheDaemon) {
  const json report = RunJson({"verify", "m.safetensors"});  // loads it
  EXPECT_EQ(report["found_digest"], report["expected_digest"]);
  EXPECT_THAT(std::string(report["found_digest"]), MatchesRegex("sha256:[0-9a-f]{64}"));
  EXPECT_EQ(report["tensor_count"], std::to_string(spec.tensors.size()));
  EXPECT_EQ(report["mismatches"].size(), 0u);
  EXPECT_THAT(RunOk({"verify", std::string(report["found_digest"])}),
              HasSubstr("as it was loaded"));
  EXPECT_TRUE(Eventually([&] { return RunJson({"leases"})["leases"].empty(); }));
  RunFailing({"verify", "sha256:0000"}, 4);
  RunFailing({"verify", "nothing.safetensors"}, 4);
}

TEST_F(ModelctlTest, VerifyMeansTheResidencyThatIsThereAlsoWhenItsFileHasChanged) {
  const std::string id = Load();
  const std::string before = RunJson({"verify", id})["found_digest"];
  WriteCheckpoint(daemon.root() + "/new", SmallSpec(2));
  ASSERT_EQ(rename((daemon.root() + "/new").c_str(), path.c_str()), 0);
  const json after = RunJson({"verify", id});
  EXPECT_EQ(after["residency_id"], id);
  EXPECT_EQ(after["found_digest"], before);
}

TEST_F(ModelctlTest, WhatIsExportedHasTheSameWeights) {
  const std::string id = Load();
  const std::string exported = daemon.root() + "/exported.safetensors";
  const json report = RunJson({"export", id, exported});
  EXPECT_EQ(report["file"], exported);
  EXPECT_EQ(report["file_bytes"], std::to_string(std::filesystem::file_size(exported)));
  EXPECT_EQ(RunOk({"export", id}), ReadFile(exported)) << "a pipe gets the same";

  const std::string bytes = ReadFile(exported);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  std::string data;
  for (size_t i = 0; i < spec.tensors.size(); ++i) data += TensorBytes(spec, i);
  EXPECT_EQ(bytes.substr(8 + header_bytes), data);
  EXPECT_EQ(RunJson({"verify", exported})["found_digest"],
            RunJson({"verify", path})["found_digest"]);
  EXPECT_EQ(RunJson({"inspect", exported})["checkpoint"]["metadata"],
            RunJson({"inspect", path})["checkpoint"]["metadata"]);
}

TEST_F(ModelctlTest, ExportToAFullFileSystemLeavesNothing) {
  const TempDir small;
  const std::string directory = small.Mkdir("fs");
  if (mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "a file system of its own needs privileges: " << strerror(errno);
  }
  ASSERT_GT(spec.tensor_bytes(), 64u << 10);
  const std::string error = RunFailing({"export", "m.safetensors", directory + "/out"}, 1);
  EXPECT_THAT(error, HasSubstr("No space left on device"));
  EXPECT_THAT(error, HasSubstr(directory + "/out"));
  EXPECT_THAT(List(directory), ElementsAre());
  EXPECT_EQ(umount2(directory.c_str(), MNT_DETACH), 0);
}

TEST_F(ModelctlTest, ExportOverTheFileSizeLimitLeavesNothing) {
  const TempDir dir;
  Load();
  struct rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const struct rlimit small = {.rlim_cur = 16 << 10, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = RunFailing({"export", "m.safetensors", dir / "out"}, 1);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_THAT(error, HasSubstr("File too large"));
  EXPECT_THAT(List(dir.path()), ElementsAre());
}

TEST_F(ModelctlTest, ExportNeverReplacesADevice) {
  EXPECT_THAT(RunFailing({"export", "m.safetensors", "/dev/full"}, 1),
              HasSubstr("No space left on device"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

}  // namespace
}  // namespace modeld::test
