// What outlives modeld and its agents: aliases, pins and the history, in the state directory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

using ::testing::HasSubstr;

class DaemonState : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.running());
    WriteCheckpoint(daemon_.root() + "/old.safetensors", SmallSpec(1));
    WriteCheckpoint(daemon_.root() + "/new.safetensors", SmallSpec(2));
  }

  // `padding`: so many globs make its record some KiB longer.
  absl::StatusOr<v1::SetAliasResult> SetAlias(const std::string& name, const std::string& reference,
                                              int padding = 0) {
    v1::SetAliasRequest request;
    request.mutable_alias()->set_name(name);
    request.mutable_alias()->mutable_spec()->set_reference(reference);
    if (padding > 0) {
      v1::LoadConfig& config = *request.mutable_alias()->mutable_spec()->mutable_load_config();
      config.add_include("*");
      for (int i = 0; i < padding; ++i) config.add_include(std::string(250, 'x'));
    }
    return Admin().SetAlias(request);
  }

  RpcClient Admin() { return RpcClient(daemon_.socket("admin.sock")); }
  std::vector<v1::Alias> Aliases() { return Admin().Aliases().value(); }
  std::vector<v1::Pin> Pins() { return Admin().Pins().value(); }

  // As after a loss of power: nobody keeps the memory.
  void KillAllAndStart() {
    daemon_.Kill(SIGKILL);
    daemon_.KillAgent();
    daemon_.Start();
    ASSERT_TRUE(daemon_.running());
  }

  std::string StateFile() const { return daemon_.state_dir() + "/state.jsonl"; }

  DaemonFixture daemon_{{.keep_state = true}};
};

TEST_F(DaemonState, KeepsAliasesAndPinsWhenEverythingElseIsGone) {
  ASSERT_TRUE(SetAlias("prod", "old.safetensors").ok());
  ASSERT_TRUE(Admin().Pin("prod").ok());
  KillAllAndStart();
  ASSERT_EQ(Aliases().size(), 1u);
  EXPECT_EQ(Aliases()[0].spec().reference(), "old.safetensors");
  const auto loaded = Admin().Preload("prod");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->pinned());
  EXPECT_EQ(loaded->reference(), "old.safetensors");
  EXPECT_EQ(loaded->aliases(0), "prod");
}

TEST_F(DaemonState, ListsThePinOfAFileThatWasReplacedAndTakesItBack) {
  ASSERT_TRUE(Admin().Preload("old.safetensors").ok());
  ASSERT_TRUE(Admin().Pin("old.safetensors").ok());
  KillAllAndStart();
  WriteCheckpoint(daemon_.root() + "/old.safetensors", SmallSpec(3));
  const auto pins = Pins();
  ASSERT_EQ(pins.size(), 1u);
  EXPECT_EQ(pins[0].reference(), "old.safetensors");
  EXPECT_EQ(pins[0].residency_id(), "");
  const auto loaded = Admin().Preload("old.safetensors");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_FALSE(loaded->pinned()) << "the pin is that of other weights";
  ASSERT_TRUE(Admin().Unpin("old.safetensors").ok());
  EXPECT_TRUE(Eventually([this] { return Pins().empty(); }));
  KillAllAndStart();
  EXPECT_TRUE(Pins().empty()) << "for good";
}

TEST_F(DaemonState, GoesOnWithTheHistory) {
  ASSERT_TRUE(SetAlias("prod", "old.safetensors").ok());
  const auto before = RpcClient(daemon_.socket()).Events(1000);
  // Events follow in a moment; whatever is saved takes them along.
  ASSERT_TRUE(Admin().Pin("prod").ok());
  KillAllAndStart();
  const auto after = RpcClient(daemon_.socket()).Events(1000);
  ASSERT_TRUE(before.ok() && after.ok());
  const auto is_set = [](const v1::Event& event) { return event.type() == v1::Event::ALIAS_SET; };
  const auto known = std::ranges::find_if(*after, is_set);
  ASSERT_NE(known, after->end());
  EXPECT_EQ(known->sequence(), std::ranges::find_if(*before, is_set)->sequence());
  for (size_t i = 1; i < after->size(); ++i) {
    EXPECT_GT((*after)[i].sequence(), (*after)[i - 1].sequence());
  }
}

TEST_F(DaemonState, TakesAnAliasOverWithTheResidencyThatItNames) {
  const auto set = SetAlias("prod", "old.safetensors");
  ASSERT_TRUE(set.ok());
  daemon_.Kill(SIGKILL);
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  const auto loaded = Admin().Preload("prod");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->id(), set->residency().id());
  const auto moved = SetAlias("prod", "new.safetensors");
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(moved->superseded(0).id(), set->residency().id());
}

TEST_F(DaemonState, StartsWithADamagedFileAndSaysWhereThatIs) {
  ASSERT_TRUE(SetAlias("prod", "old.safetensors").ok());
  daemon_.Kill(SIGKILL);
  {
    std::ofstream file(StateFile(), std::ios::app);
    file << std::string(100, 'x') << "\n";
  }
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  EXPECT_EQ(Aliases().size(), 1u) << "what is sound is kept";
  EXPECT_THAT(daemon_.log(), HasSubstr("the state was damaged"));
  EXPECT_TRUE(std::filesystem::exists(StateFile() + ".damaged-1"));
}

TEST_F(DaemonState, IsOfOneDaemonOnly) {
  const RunResult second =
      RunModeld({"--config", "/dev/null", "--runtime-dir", daemon_.directory() + "/other",
                 "--state-dir", daemon_.state_dir()});
  EXPECT_EQ(second.exit.value, 1);
  EXPECT_THAT(second.err, HasSubstr("--state-dir"));
}

TEST_F(DaemonState, ThatCannotBeWrittenLeavesTheAliasAsItWasAndEverythingElseGoesOn) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts a full disk, which takes root";
  ASSERT_TRUE(daemon_.Stop().has_value());
  ASSERT_EQ(::mount("none", daemon_.state_dir().c_str(), "tmpfs", 0, "size=64k,mode=0700"), 0);
  struct Unmount {
    std::string path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } unmount{daemon_.state_dir()};
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  ASSERT_TRUE(SetAlias("prod", "old.safetensors").ok());
  const std::string filler = daemon_.state_dir() + "/filler";
  std::ofstream(filler) << std::string(64 << 10, 'x');
  // More than what is left of the last page that the file has.
  const auto refused = SetAlias("prod", "new.safetensors", /*padding=*/32);
  EXPECT_EQ(wire::GetReason(refused.status()), wire::Reason::kStateNotSaved) << refused.status();
  EXPECT_EQ(Aliases().at(0).spec().reference(), "old.safetensors");
  EXPECT_TRUE(Admin().Preload("new.safetensors").ok());
  std::filesystem::remove(filler);
  EXPECT_TRUE(Eventually([&] { return SetAlias("prod", "new.safetensors").ok(); }));
  ASSERT_TRUE(daemon_.Stop().has_value());
}

}  // namespace
}  // namespace modeld::test
