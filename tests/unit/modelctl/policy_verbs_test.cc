// What operators wish, as processes against a scripted daemon: staying, going, versions, and why.

#include <gtest/gtest.h>
#include <signal.h>

#include "support/processes.h"
#include "unit/modelctl/verb_test.h"
#include "wire/error.h"

namespace modeld::test {
namespace {

using PolicyVerbTest = VerbTest;

v1::Alias MakeAlias(const std::string& name, const std::string& reference) {
  v1::Alias alias;
  alias.set_name(name);
  alias.mutable_spec()->set_reference(reference);
  return alias;
}

// ---- load ----

TEST_F(PolicyVerbTest, LoadSaysHowLongItShallStayAndWhetherItWaits) {
  const auto load = [&](std::vector<std::string> more) -> const v1::PreloadRequest& {
    more.insert(more.begin(), {"load", kReference});
    EXPECT_EQ(Run(std::move(more)).exit_code, 0);
    return daemon.preload_request;
  };
  EXPECT_FALSE(load({}).has_keep_alive()) << "as it is";
  EXPECT_FALSE(load({}).wait_for_room());
  EXPECT_TRUE(load({"--wait-for-room"}).wait_for_room());
  EXPECT_EQ(load({"--keep-alive", "90s"}).keep_alive().seconds(), 90);
  for (const char* zero : {"0", "0s"}) {
    EXPECT_TRUE(load({"--keep-alive", zero}).has_keep_alive());
    EXPECT_EQ(load({"--keep-alive", zero}).keep_alive().seconds(), 0);
  }
  EXPECT_LT(load({"--keep-alive", "forever"}).keep_alive().seconds(), 0);
}

TEST_F(PolicyVerbTest, LoadShowsWhoHoldsTheRoomThatItWaitsFor) {
  daemon.load_hangs = true;
  daemon.progress.set_phase(v1::Progress::WAITING);
  daemon.progress.set_bytes_done(1 << 20);
  daemon.progress.set_bytes_total(4 << 20);
  daemon.progress.set_message("held by m: pid 7 (python, w\033[2J)");
  const auto load = Start({"load", "x", "--wait-for-room"}, {.terminal = true, .columns = 120});
  EXPECT_TRUE(
      load->WaitForOut("x  waits for 4.0 MiB, 1.0 MiB free: held by m: pid 7 (python, w\\x1b[2J)"))
      << load->out();
  load->Signal(SIGINT);
  EXPECT_EQ(load->Wait().exit_code, 130);
}

// ---- evict ----

TEST_F(PolicyVerbTest, EvictDoesWhatItCanAndFailsForTheRest) {
  v1::Residency& pinned = *daemon.residencies.add_residencies();
  pinned.set_id("aaaa000000000000");
  pinned.set_pinned(true);
  const ModelctlResult result = Run({"evict", "nothing", "aaaa", "3f2a"});
  EXPECT_EQ(result.out, "evicted 3f2a91c0 models/backbone.safetensors: 2.0 MiB freed\n");
  EXPECT_NE(result.err.find("nothing resident is called that"), std::string::npos);
  EXPECT_NE(result.err.find("aaaa000000000000 is pinned"), std::string::npos);
  EXPECT_EQ(result.exit_code, 5) << "of the last failure";
}

TEST_F(PolicyVerbTest, EvictIsAnsweredAtOnceAndADrainWaitsAsLongAsItTakes) {
  EXPECT_EQ(Run({"evict", "3f2a"}).exit_code, 0);
  EXPECT_FALSE(daemon.evict_request.drain());
  EXPECT_TRUE(daemon.evict_has_deadline);
  EXPECT_EQ(Run({"evict", "--drain", "3f2a"}).exit_code, 0);
  EXPECT_TRUE(daemon.evict_request.drain());
  EXPECT_FALSE(daemon.evict_request.has_drain_timeout());
  EXPECT_FALSE(daemon.evict_has_deadline);
  EXPECT_EQ(Run({"evict", "--drain", "3f2a", "--timeout", "7s"}).exit_code, 0);
  EXPECT_EQ(daemon.evict_request.drain_timeout().seconds(), 7);
  EXPECT_TRUE(daemon.evict_has_deadline) << "for a daemon that hangs";
}

TEST_F(PolicyVerbTest, CtrlCEndsTheWaitForTheHoldersAndSaysWhatGoesOn) {
  daemon.drain_hangs = true;
  const auto evict = Start({"evict", "--drain", "3f2a", "other"});
  EXPECT_TRUE(Eventually([&] { return daemon.drains_started == 1; }));
  evict->Signal(SIGINT);
  const ModelctlResult result = evict->Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.err,
            "modelctl: interrupted: 3f2a goes on draining, and is freed when its holders have let "
            "go; see whether it is still there: modelctl ps\n");
  EXPECT_EQ(daemon.evict_request.selector(), "3f2a") << "the next one is not asked for any more";
}

TEST_F(PolicyVerbTest, ADrainShowsOnATerminalThatItWaits) {
  daemon.drain_hangs = true;
  const auto evict = Start({"evict", "--drain", "3f2a"}, {.terminal = true});
  EXPECT_TRUE(evict->WaitForOut("3f2a  waits until its holders have let go")) << evict->out();
  evict->Signal(SIGINT);
  EXPECT_EQ(evict->Wait().exit_code, 130);
}

TEST_F(PolicyVerbTest, ADryRunSaysWhatWouldComeBackAndAfterWhom) {
  *daemon.dry_run.mutable_residency() = model.residency;
  daemon.dry_run.set_freed_bytes(1 << 20);
  EXPECT_EQ(Run({"evict", "--dry-run", "3f2a"}).out,
            "would evict 3f2a91c0 models/backbone.safetensors: 1.0 MiB would come back\n");
  EXPECT_TRUE(daemon.evict_request.dry_run());

  v1::Lease& holder = *daemon.dry_run.add_holders();
  holder.set_id("5");
  holder.set_pid(4242);
  const ModelctlResult drain = Run({"evict", "--dry-run", "--drain", "3f2a", kReference});
  EXPECT_EQ(drain.exit_code, 0);
  EXPECT_NE(drain.out.find("1.0 MiB would come back when 1 holder has let go\n"), std::string::npos)
      << drain.out;
  EXPECT_NE(drain.out.find("4242"), std::string::npos) << drain.out;
  EXPECT_TRUE(daemon.evict_has_deadline) << "it waits for nobody";
  EXPECT_EQ(daemon.evict_request.selector(), kReference) << "all are tried";
  EXPECT_EQ(Run({"-o", "name", "evict", "--dry-run", "3f2a"}).out, std::string(kId) + "\n");
  EXPECT_EQ(RunJson({"evict", "--dry-run", "3f2a"})["holders"][0]["pid"], 4242);
}

// ---- why ----

TEST_F(PolicyVerbTest, WhyAnswersInEveryFormat) {
  *daemon.explanation.mutable_residency() = model.residency;
  daemon.explanation.add_sentences("It stays because an operator has pinned it.");
  EXPECT_EQ(Run({"why", "3f2a"}).out, "It stays because an operator has pinned it.\n");
  EXPECT_EQ(daemon.explain_request.selector(), "3f2a");
  EXPECT_EQ(Run({"explain", kReference, "-o", "name"}).out, std::string(kId) + "\n");
  EXPECT_EQ(daemon.explain_request.selector(), kReference);
  EXPECT_EQ(RunJson({"why", "3f2a"})["residency"]["id"], kId);
  daemon.refuse = wire::MakeError(wire::Reason::kResidencyNotFound, "nobody knows it");
  EXPECT_EQ(Run({"why", "x"}).exit_code, 4);
}

// ---- alias ----

TEST_F(PolicyVerbTest, AliasSetSendsTheVersionAndPrintsWhatItReplaces) {
  *daemon.alias_result.mutable_alias() = MakeAlias("prod", "v2");
  *daemon.alias_result.mutable_residency() = model.residency;
  v1::Residency& old = *daemon.alias_result.add_superseded();
  old = model.residency;
  old.set_id("77aa91c07b5e4d22");
  old.set_reference("v1");
  old.set_lease_count(2);
  daemon.alias_result.set_told_holders(2);
  const ModelctlResult set =
      Run({"alias", "set", "prod", "v2", "--cast", "bf16", "--key-prefix", "ema.", "--keep-alive",
           "0", "--wait-for-room", "--timeout", "9s", "--expect", "sha256:00"});
  EXPECT_EQ(set.exit_code, 0) << set.err;
  EXPECT_EQ(set.err, "");
  EXPECT_EQ(set.out,
            "prod names 3f2a91c0 models/backbone.safetensors on host\n"
            "it replaces 77aa91c0 v1 on host: it goes when 2 holders have let go\n"
            "2 holders were told of the new version\n");
  const v1::SetAliasRequest& request = daemon.alias_request;
  EXPECT_EQ(request.alias().name(), "prod");
  EXPECT_EQ(request.alias().spec().reference(), "v2");
  EXPECT_EQ(request.alias().spec().load_config().cast(), "BF16");
  EXPECT_EQ(request.alias().spec().load_config().key_prefix(), "ema.");
  EXPECT_EQ(request.alias().spec().expected_digest(), "sha256:00");
  EXPECT_TRUE(request.alias().has_keep_alive());
  EXPECT_EQ(request.alias().keep_alive().seconds(), 0);
  EXPECT_TRUE(request.wait_for_room());
  EXPECT_EQ(request.wait_timeout().seconds(), 9);
  EXPECT_EQ(Run({"-o", "name", "alias", "set", "prod", "v2"}).out, "prod\n");
  EXPECT_FALSE(daemon.alias_request.alias().has_keep_alive());
  EXPECT_EQ(RunJson({"alias", "set", "prod", "v2"})["superseded"][0]["reference"], "v1");
}

TEST_F(PolicyVerbTest, AliasSetShowsABarAndCtrlCCancelsIt) {
  daemon.load_hangs = true;
  const auto set = Start({"alias", "set", "prod", kReference}, {.terminal = true, .columns = 100});
  EXPECT_TRUE(set->WaitForOut("[###############---------------]  50%  512.0 MiB of 1.0 GiB"))
      << set->out();
  set->Signal(SIGINT);
  const ModelctlResult result = set->Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_NE(result.out.find("interrupted: see what prod names: modelctl alias ls"),
            std::string::npos)
      << result.out;
  EXPECT_TRUE(Eventually([&] { return daemon.loads_cancelled == 1; }));
}

TEST_F(PolicyVerbTest, AliasesAreListedAndRemoved) {
  *daemon.aliases.add_aliases() = MakeAlias("prod", "v2");
  *daemon.aliases.add_aliases() = MakeAlias("test", "v3");
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"alias"}, {"alias", "ls"}, {"-o", "wide", "alias", "ls"}}) {
    EXPECT_NE(Run(args).out.find("prod   v2"), std::string::npos) << Run(args).out;
  }
  EXPECT_EQ(Run({"alias", "ls", "-o", "name"}).out, "prod\ntest\n");
  EXPECT_EQ(RunJson({"alias"})["aliases"][1]["spec"]["reference"], "v3");
  EXPECT_EQ(Run({"alias", "rm", "prod"}).out, "removed prod, which named v2\n");
  EXPECT_EQ(Run({"-o", "name", "alias", "rm", "prod"}).out, "prod\n");
  const ModelctlResult missing = Run({"alias", "rm", "nothing"});
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_EQ(missing.err,
            "modelctl: there is no alias \"nothing\"\n  next: see which there are: modelctl alias "
            "ls\n");
}

}  // namespace
}  // namespace modeld::test
