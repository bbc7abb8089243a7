// A daemon comes up, loads, and goes down.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/lease_holder.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using wire::Reason;

mode_t ModeOf(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

TEST(Daemon, ServesWhenItSaysThatItIsReady) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  EXPECT_EQ(ModeOf(daemon.runtime_dir()), 0750u);
  EXPECT_EQ(ModeOf(daemon.socket("modeld.sock")), 0660u);
  EXPECT_EQ(ModeOf(daemon.socket("attach.sock")), 0660u);
  EXPECT_EQ(ModeOf(daemon.socket("admin.sock")), 0600u);
  EXPECT_NE(daemon.agent_pid(), 0);

  RpcClient client(daemon.socket("modeld.sock"));
  EXPECT_TRUE(client.IsServing());
  EXPECT_TRUE(RpcClient(daemon.socket("admin.sock")).IsServing());
  const auto info = client.ServerInfo();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->pid(), daemon.pid());
  EXPECT_EQ(info->runtime_dir(), daemon.runtime_dir());
  ASSERT_EQ(info->roots_size(), 1);
  EXPECT_EQ(info->roots(0), daemon.root());
  const auto device = client.HostDevice();
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(device->capacity_bytes(), uint64_t{1} << 30);
  EXPECT_TRUE(device->available());
  EXPECT_EQ(device->agent_pid(), daemon.agent_pid());
}

TEST(Daemon, LoadsACheckpointAndListsIt) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const CheckpointSpec spec = SmallSpec();
  const std::string path = WriteCheckpoint(daemon.root() + "/m.safetensors", spec);
  RpcClient client(daemon.socket("admin.sock"));
  const auto loaded = client.Preload(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->state(), v1::Residency::READY);
  EXPECT_EQ(loaded->tensor_bytes(), spec.tensor_bytes());
  EXPECT_EQ(loaded->tensor_count(), spec.tensors.size());

  // The same by another name, from another socket, is the same residency.
  const auto again = client.Preload("m.safetensors");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id(), loaded->id());
  const auto listed = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().id(), loaded->id());
  EXPECT_EQ(listed->front().references_size(), 2);

  const auto evicted = client.Evict(loaded->id());
  ASSERT_TRUE(evicted.ok()) << evicted.status();
  EXPECT_EQ(evicted->freed_bytes(), loaded->size_bytes());
  EXPECT_EQ(client.HostDevice()->resident_bytes(), 0u);
}

TEST(Daemon, RefusesWhatItMayNotOpenAndSaysWhy) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  const TempDir outside;
  const std::string secret = WriteCheckpoint(outside / "s.safetensors", SmallSpec());
  std::filesystem::create_symlink(secret, daemon.root() + "/link");
  RpcClient client(daemon.socket("admin.sock"));
  const auto reason = [&](const std::string& reference) {
    return wire::GetReason(client.Preload(reference).status());
  };
  EXPECT_EQ(reason(secret), Reason::kPathNotAllowed);
  EXPECT_EQ(reason("link"), Reason::kPathNotAllowed);
  EXPECT_EQ(reason("../../etc/passwd"), Reason::kPathNotAllowed);
  EXPECT_EQ(reason("missing.safetensors"), Reason::kCheckpointNotFound);
  EXPECT_EQ(reason("."), Reason::kFormatUnsupported);
  EXPECT_EQ(reason("s3://bucket/m"), Reason::kFieldInvalid);
  EXPECT_EQ(client.HostDevice()->reserved_bytes(), 0u);
}

TEST(Daemon, RefusesWhatIsTooLargeBeforeItAllocates) {
  DaemonFixture daemon({.host_capacity = "4MiB"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(16 << 20));
  const auto loaded = RpcClient(daemon.socket("admin.sock")).Preload("m.safetensors");
  ASSERT_EQ(wire::GetReason(loaded.status()), Reason::kBudgetExceeded) << loaded.status();
  EXPECT_THAT(wire::GetErrorInfo(loaded.status()).metadata,
              Contains(::testing::Key("needed_bytes")));
}

TEST(Daemon, LogsWhatHappens) {
  DaemonFixture daemon;
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  RpcClient client(daemon.socket("admin.sock"));
  ASSERT_TRUE(client.Preload("m.safetensors").ok());
  EXPECT_FALSE(client.Preload("none").ok());
  daemon.Stop();
  const std::string log = daemon.log();
  for (const char* words : {"msg=\"starting\"", "msg=\"agent started\"", "msg=\"ready\"",
                            "msg=\"load started\"", "msg=\"residency ready\"",
                            "reference=m.safetensors", "msg=\"stopping\"", "msg=\"stopped\""}) {
    EXPECT_THAT(log, HasSubstr(words));
  }
}

TEST(Daemon, GivesEachLineAPriorityWhereTheJournalReadsThem) {
  DaemonFixture daemon({.wrapper = {"/usr/bin/env", "bash", "-c",
                                    "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); "
                                    "exec \"$0\" \"$@\""}});
  ASSERT_TRUE(daemon.running());
  EXPECT_FALSE(RpcClient(daemon.socket("admin.sock")).Preload("none").ok());
  daemon.Stop();
  const std::string log = daemon.log();
  EXPECT_THAT(log, HasSubstr("<6>program=modeld-agent-host msg=\"ready\""));
  EXPECT_THAT(log, HasSubstr("<6>msg=\"ready\""));
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_THAT(line, ::testing::MatchesRegex("<[3-7]>.*"));
  }
}

TEST(Daemon, StopsOnEitherSignalAndLeavesNothing) {
  for (const int signal : {SIGTERM, SIGINT}) {
    DaemonFixture daemon;
    ASSERT_TRUE(daemon.running());
    WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
    ASSERT_TRUE(RpcClient(daemon.socket("admin.sock")).Preload("m.safetensors").ok());
    const auto exit = daemon.Kill(signal);
    ASSERT_TRUE(exit.has_value());
    EXPECT_TRUE(exit->ok()) << exit->Text();
    EXPECT_TRUE(daemon.Leftovers().empty());
    for (const char* name : {"modeld.sock", "attach.sock", "admin.sock", "agent-host.sock"}) {
      EXPECT_NE(::access(daemon.socket(name).c_str(), F_OK), 0) << name;
    }
  }
}

TEST(Daemon, StopsWhileItLoads) {
  DaemonFixture daemon({.host_capacity = "2GiB"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(256 << 20));
  RpcClient client(daemon.socket("admin.sock"));
  const auto started = client.Preload("m.safetensors", /*no_wait=*/true);
  ASSERT_TRUE(started.ok()) << started.status();
  const auto exit = daemon.Stop();
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
}

// A Preload that waits for its load ends with a reason.
TEST(Daemon, TellsThoseWhoWaitThatItStops) {
  DaemonFixture daemon({.host_capacity = "2GiB"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(512 << 20));
  RpcClient client(daemon.socket("admin.sock"));
  absl::Status status;
  std::thread waiter([&] { status = client.Preload("m.safetensors").status(); });
  ASSERT_TRUE(Eventually([&] {
    const auto list = RpcClient(daemon.socket()).List();
    return list.ok() && !list->empty();
  }));
  const auto exit = daemon.Stop();
  waiter.join();
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
  // Done just before, or told.
  if (!status.ok()) {
    EXPECT_EQ(wire::GetReason(status), Reason::kDraining) << status;
  }
}

// Reads what comes on the stream until modeld asks to let go.
bool IsAskedToLetGo(LeaseHolder& holder) {
  for (;;) {
    const auto update = holder.Next();
    if (!update.ok()) return false;
    if (update->has_drain_requested()) return true;
  }
}

TEST(Daemon, WaitsForHoldersThatLetGo) {
  DaemonFixture daemon({.config = "stop_timeout = \"1h\"\n"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  auto holder = LeaseHolder::Connect(daemon.runtime_dir());
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE((*holder)->Acquire("m.safetensors").ok());
  daemon.Signal(SIGTERM);
  EXPECT_TRUE(IsAskedToLetGo(**holder));
  (*holder)->LetGo();
  const auto exit = daemon.Wait();
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
}

TEST(Daemon, DoesNotWaitForeverForThoseThatDoNot) {
  DaemonFixture daemon({.config = "stop_timeout = \"200ms\"\n"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  auto holder = LeaseHolder::Connect(daemon.runtime_dir());
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE((*holder)->Acquire("m.safetensors").ok());
  const auto exit = daemon.Stop();
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
  while ((*holder)->Next().ok()) {
  }
}

TEST(Daemon, GrantsNothingWhileItStops) {
  DaemonFixture daemon({.config = "stop_timeout = \"1h\"\n"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  auto holder = LeaseHolder::Connect(daemon.runtime_dir());
  auto late = LeaseHolder::Connect(daemon.runtime_dir());
  ASSERT_TRUE(holder.ok() && late.ok());
  ASSERT_TRUE((*holder)->Acquire("m.safetensors").ok());
  ASSERT_TRUE((*late)->rpc().List().ok());  // is connected
  daemon.Signal(SIGTERM);
  ASSERT_TRUE(IsAskedToLetGo(**holder));
  EXPECT_EQ(wire::GetReason((*late)->Acquire("m.safetensors").status()), Reason::kDraining);
  (*holder)->LetGo();
  EXPECT_TRUE(daemon.Wait()->ok());
}

TEST(Daemon, LeavesAtOnceOnTheSecondSignal) {
  DaemonFixture daemon({.config = "stop_timeout = \"1h\"\nagent_grace = \"100ms\"\n"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  auto holder = LeaseHolder::Connect(daemon.runtime_dir());
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE((*holder)->Acquire("m.safetensors").ok());
  daemon.Signal(SIGTERM);
  ASSERT_TRUE(IsAskedToLetGo(**holder));
  const auto exit = daemon.Kill(SIGTERM);
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(*exit, (base::ExitStatus{.signaled = false, .value = 1})) << exit->Text();
  EXPECT_THAT(daemon.log(), HasSubstr("a second signal"));
}

TEST(Daemon, RaisesItsLimitOfDescriptors) {
  DaemonFixture daemon(
      {.wrapper = {"/usr/bin/env", "bash", "-c", "ulimit -S -n 64; exec \"$0\" \"$@\""}});
  ASSERT_TRUE(daemon.running());
  const auto info = RpcClient(daemon.socket()).ServerInfo();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_GT(info->fd_limit(), 64u);
}

TEST(Daemon, KeepsTellingTheWatchdog) {
  DaemonFixture daemon({.env = {"WATCHDOG_USEC=300000"}});
  ASSERT_TRUE(daemon.running());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(daemon.WaitForNotification("WATCHDOG=1"));
  daemon.Signal(SIGTERM);
  EXPECT_TRUE(daemon.WaitForNotification("STOPPING=1"));
  EXPECT_TRUE(daemon.Wait()->ok());
}

TEST(Daemon, ReloadsItsConfigurationOnAHangup) {
  DaemonFixture daemon({.config = "log_level = \"info\"\n"});
  ASSERT_TRUE(daemon.running());
  const std::string file = daemon.directory() + "/c.toml";
  const auto reload = [&](const std::string& text) {
    std::ofstream(file) << text;
    daemon.Signal(SIGHUP);
    EXPECT_TRUE(daemon.WaitForNotification("RELOADING=1"));
    EXPECT_TRUE(daemon.WaitForNotification("READY=1"));
  };
  const auto logs = [&](const std::string& words) {
    return Eventually([&] { return daemon.log().find(words) != std::string::npos; });
  };
  reload("log_level = \"debug\"\ngpus = \"none\"\n");
  EXPECT_TRUE(logs("msg=\"reloaded\" config=" + file + " changed=log_level"));
  EXPECT_TRUE(logs("msg=\"these settings changed and wait for a restart\" settings=gpus"));
  reload("log_level = \"loud\"\n");
  EXPECT_TRUE(logs(file + ":1:13: log_level:"));
  // It serves on, with what it had.
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  auto holder = LeaseHolder::Connect(daemon.runtime_dir());
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE((*holder)->Acquire("m.safetensors").ok());
  EXPECT_TRUE(logs("level=debug msg=\"lease granted\""));
}

TEST(Daemon, HandsOverAtOnceAndLeavesEverythingToTheNextOne) {
  DaemonFixture daemon({.config = "stop_timeout = \"1h\"\n"});
  ASSERT_TRUE(daemon.running());
  WriteCheckpoint(daemon.root() + "/m.safetensors", SmallSpec());
  const auto loaded = RpcClient(daemon.socket("admin.sock")).Preload("m.safetensors");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  auto holder = LeaseHolder::Connect(daemon.runtime_dir());
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE((*holder)->Acquire("m.safetensors").ok());
  const pid_t agent = daemon.agent_pid();
  const auto exit = daemon.Kill(SIGUSR2);
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
  EXPECT_THAT(daemon.log(), HasSubstr("msg=\"handing over to the next modeld\""));

  daemon.Start();
  ASSERT_TRUE(daemon.running());
  EXPECT_EQ(daemon.agent_pid(), agent);
  const auto list = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().id(), loaded->id());
}

TEST(Daemon, GivesItsSocketsToTheGroupThatIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files to any group";
  DaemonFixture daemon({.config = "socket_group = 12345\n"});
  ASSERT_TRUE(daemon.running());
  for (const std::string& path :
       {daemon.runtime_dir(), daemon.socket("modeld.sock"), daemon.socket("attach.sock")}) {
    struct stat status = {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_gid, 12345u) << path;
  }
  struct stat admin = {};
  ASSERT_EQ(::stat(daemon.socket("admin.sock").c_str(), &admin), 0);
  EXPECT_NE(admin.st_gid, 12345u);
}

}  // namespace
}  // namespace modeld::test
