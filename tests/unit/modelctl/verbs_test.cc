// Every verb, as a process against a scripted daemon.

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/processes.h"
#include "support/read_file.h"
#include "support/temp_dir.h"
#include "unit/modelctl/verb_test.h"
#include "wire/error.h"

namespace modeld::test {
namespace {

using nlohmann::json;

void AddLease(FakeDaemon& daemon, const std::string& scope, int pid) {
  v1::Lease& lease = *daemon.leases.add_leases();
  lease.set_id(std::to_string(pid));
  lease.set_residency_id(kId);
  lease.set_reference(kReference);
  lease.set_scope(scope);
  lease.set_pid(pid);
}

// ---- usage ----

TEST(Usage, HelpGoesToStdoutForEveryVerb) {
  const ModelctlResult all = RunModelctl({"--help"});
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_EQ(all.err, "");
  for (const char* verb :
       {"ps", "get", "load", "evict", "pin", "unpin", "leases", "devices", "events", "inspect",
        "verify", "export", "health", "version", "why", "alias"}) {
    EXPECT_NE(all.out.find(std::string("  ") + verb), std::string::npos) << verb;
    const ModelctlResult help = RunModelctl({verb, "--help"});
    EXPECT_EQ(help.exit_code, 0) << verb;
    EXPECT_NE(help.out.find("Usage: modelctl " + std::string(verb)), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("Example:\n  "), std::string::npos) << verb;
  }
}

TEST(Usage, MistakesAreToldOnStderrWithTheNextStep) {
  const std::vector<std::vector<std::string>> mistakes = {
      {},
      {"pss"},
      {"get"},
      {"ps", "--nonsense"},
      {"-o", "xml", "ps"},
      {"--timeout", "10", "ps"},
      {"-H", "http://x", "ps"},
      {"ps", "--watch", "0s"},
      {"load", "x", "--private", "--instance", "y"},
      {"evict"},
      {"why"},
      {"load", "x", "--keep-alive", "10"},
      {"load", "x", "--keep-alive", "-1s"},
      {"alias", "set"},
      {"alias", "set", "prod"},
      {"alias", "set", "prod", "x", "--instance", "y"},
      {"alias", "rm"},
      {"alias", "ls", "prod"},
      {"alias", "mv", "a", "b"}};
  for (const auto& args : mistakes) {
    const ModelctlResult result = RunModelctl(args);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(result.err.starts_with("modelctl: ")) << result.err;
    EXPECT_NE(result.err.find("\n  next: "), std::string::npos) << result.err;
  }
}

TEST(Usage, AMistakeInAVerbOfAVerbLeadsToItsHelp) {
  EXPECT_TRUE(RunModelctl({"alias", "set"}).err.ends_with("next: modelctl alias set --help\n"));
  const ModelctlResult help = RunModelctl({"alias", "set", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("Example:\n  modelctl alias set"), std::string::npos) << help.out;
}

TEST(Usage, ADaemonThatIsNotThereIsToldAtOnceWithItsPath) {
  const TempDir dir;
  for (const char* verb : {"ps", "health", "version", "devices", "leases", "events"}) {
    const ModelctlResult result = RunModelctl({"-H", dir / "modeld.sock", verb});
    EXPECT_EQ(result.exit_code, 3) << verb;
    EXPECT_NE(result.err.find(dir / "modeld.sock"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("start one with: modeld --runtime-dir " + dir.path()),
              std::string::npos);
  }
  EXPECT_EQ(RunModelctl({"-H", dir / "modeld.sock", "load", "x"}).exit_code, 3);
  EXPECT_EQ(RunModelctl({"-H", dir / "modeld.sock", "version"}).out.substr(0, 8), "modelctl");
}

TEST(Usage, TheFlagWinsOverTheEnvironmentAndMayFollowTheVerb) {
  const TempDir dir;
  const ModelctlResult result = RunModelctl({"ps", "-H", dir / "flag.sock"},
                                            {.env = {"MODELD_ENDPOINT=/nonexistent/env.sock"}});
  EXPECT_NE(result.err.find("flag.sock"), std::string::npos) << result.err;
}

// ---- reading ----

TEST_F(VerbTest, PsListsInEveryFormat) {
  EXPECT_NE(Run({"ps"}).out.find("3f2a91c0  models/backbone.safetensors"), std::string::npos);
  EXPECT_NE(Run({"-o", "wide", "ls"}).out.find(kId), std::string::npos);
  EXPECT_EQ(Run({"list", "-o", "name"}).out, std::string(kId) + "\n");
  const json reply = RunJson({"ps"});
  EXPECT_EQ(reply["residencies"][0]["id"], kId);
  EXPECT_EQ(reply["residencies"][0]["state"], "READY");
  EXPECT_EQ(reply["residencies"][0]["size_bytes"], "2097152");
  EXPECT_EQ(reply["residencies"][0]["shared_bytes"], "0");
  EXPECT_EQ(reply["residencies"][0]["pinned"], false);
}

TEST_F(VerbTest, PsShowsEndedOnesOnlyWithAll) {
  v1::Residency& failed = *daemon.residencies.add_residencies();
  failed.set_id("bad0bad0bad0bad0");
  failed.set_state(v1::Residency::FAILED);
  EXPECT_EQ(Run({"-o", "name", "ps"}).out, std::string(kId) + "\n");
  EXPECT_EQ(Run({"-o", "name", "ps", "--all"}).out, std::string(kId) + "\nbad0bad0bad0bad0\n");
}

TEST_F(VerbTest, PsDrawsTheTreeOfScopes) {
  AddLease(daemon, "world/stage/pipe/g1", 11);
  AddLease(daemon, "world/stage/pipe/g2", 12);
  const ModelctlResult tree = Run({"ps", "--tree"});
  EXPECT_NE(tree.out.find("\n      ├─ g1  3f2a91c0"), std::string::npos) << tree.out;
  EXPECT_NE(tree.out.find("2 uses, 1 copy, 48 B instead of 96 B\n"), std::string::npos) << tree.out;
  const json reply = RunJson({"ps", "--tree"});
  EXPECT_EQ(reply["uses"], "2");
  EXPECT_EQ(reply["roots"][0]["children"][0]["children"][0]["children"][1]["uses"][0]["pids"][0],
            12);
}

TEST_F(VerbTest, WatchingAppendsWhereNoTerminalIsAndEndsWithCtrlC) {
  const auto ps = Start({"ps", "--watch", "10ms"});
  EXPECT_TRUE(Eventually([&] {
    const std::string out = ps->out();
    return out.find("ID") != out.rfind("ID") && out.find("\n\nID") != std::string::npos;
  }));
  ps->Signal(SIGINT);
  const ModelctlResult result = ps->Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.out.find('\033'), std::string::npos);
}

TEST_F(VerbTest, WatchingDrawsAgainOnATerminal) {
  const auto ps = Start({"ps", "-w"}, {.terminal = true});
  EXPECT_TRUE(ps->WaitForOut("\033[H\033[2J"));
  EXPECT_TRUE(ps->WaitForOut("READY"));
  ps->Signal(SIGINT);
  EXPECT_EQ(ps->Wait().exit_code, 130);
}

TEST_F(VerbTest, GetFindsByPrefixAndReference) {
  EXPECT_NE(Run({"get", "3f2a"}).out.find(model.weights_digest), std::string::npos);
  EXPECT_EQ(RunJson({"get", kReference})["residency"]["id"], kId);
  const ModelctlResult missing = Run({"get", "nothing"});
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_EQ(missing.err,
            "modelctl: nothing resident is called \"nothing\"\n  next: see what is resident: "
            "modelctl ps\n");
}

TEST_F(VerbTest, LeasesShowTheHolder) {
  AddLease(daemon, "w\033[2J", 4242);
  const ModelctlResult table = Run({"leases"});
  EXPECT_NE(table.out.find("4242"), std::string::npos);
  EXPECT_NE(table.out.find("w\\x1b[2J"), std::string::npos) << "a scope cannot steer the terminal";
  EXPECT_EQ(RunJson({"leases", kId})["leases"][0]["pid"], 4242);
}

TEST_F(VerbTest, DevicesAndVersionAnswer) {
  daemon.devices.add_devices()->set_id("host");
  daemon.info.set_version("9.9");
  EXPECT_EQ(RunJson({"devices"})["devices"][0]["capacity_bytes"], "0");
  EXPECT_EQ(Run({"-o", "name", "devices"}).out, "host\n");
  EXPECT_NE(Run({"version"}).out.find("modeld    9.9"), std::string::npos);
  EXPECT_EQ(RunJson({"version"})["server"]["version"], "9.9");
}

TEST_F(VerbTest, EventsEndAfterTheHistoryOrFollow) {
  for (int i = 1; i <= 5; ++i) {
    v1::Event event;
    event.set_sequence(i);
    event.set_type(v1::Event::RESIDENCY_READY);
    event.set_reference("ref" + std::to_string(i));
    daemon.events.push_back(event);
  }
  EXPECT_EQ(Run({"-o", "name", "events", "--history", "2"}).out,
            "RESIDENCY_READY\nRESIDENCY_READY\n");
  const json first = json::parse(Run({"-o", "json", "events", "--history", "1"}).out);
  EXPECT_EQ(first["event"]["sequence"], "5");
  const auto follow = Start({"events", "-f"});
  EXPECT_TRUE(follow->WaitForOut("ref5"));
  follow->Signal(SIGINT);
  EXPECT_EQ(follow->Wait().exit_code, 130);
}

TEST_F(VerbTest, InspectMergesTheParts) {
  daemon.checkpoint.resize(3);
  daemon.checkpoint[0].mutable_checkpoint()->set_reference("r");
  daemon.checkpoint[1].add_tensors()->set_name("first");
  daemon.checkpoint[2].add_tensors()->set_name("second");
  EXPECT_EQ(Run({"-o", "name", "inspect", "r", "--tensors"}).out, "first\nsecond\n");
}

TEST_F(VerbTest, HealthSaysWhatIsDegradedAndIsHealthyAllTheSame) {
  daemon.info.add_degraded("state is not saved: no space left on device");
  const ModelctlResult result = Run({"health"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "SERVING\n");
  EXPECT_EQ(result.err, "modelctl: degraded: state is not saved: no space left on device\n");
}

TEST_F(VerbTest, HealthTellsServingFromNotServing) {
  EXPECT_EQ(Run({"health"}).out, "SERVING\n");
  EXPECT_EQ(Run({"health"}).exit_code, 0);
  daemon.SetServing(false);
  const ModelctlResult result = Run({"health"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "NOT_SERVING\n");
  EXPECT_NE(result.err.find("modeld does not serve"), std::string::npos);
}

TEST_F(VerbTest, AHangingDaemonIsGivenUpAtTheTimeout) {
  daemon.hangs = true;
  const ModelctlResult result = Run({"--timeout", "100ms", "ps"});
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_NE(result.err.find("no answer from modeld within 100ms"), std::string::npos) << result.err;
}

TEST_F(VerbTest, OutputThatCannotBeWrittenIsAnError) {
  const ModelctlResult result = Run({"ps"}, {.stdout_path = "/dev/full"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("cannot write to stdout: No space left on device"), std::string::npos)
      << result.err;
}

// ---- operating ----

TEST_F(VerbTest, LoadSendsWhatWasAskedForAndPrintsTheResidency) {
  const ModelctlResult result = Run({"load", kReference, "--device", "host", "--instance", "canary",
                                     "--pin", "--no-wait", "--timeout", "9s"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "") << "no bar without a terminal";
  EXPECT_NE(result.out.find("READY"), std::string::npos);
  EXPECT_EQ(daemon.preload_request.spec().reference(), kReference);
  EXPECT_EQ(daemon.preload_request.spec().instance(), "canary");
  EXPECT_EQ(daemon.preload_request.wait_timeout().seconds(), 9);
  EXPECT_TRUE(daemon.preload_request.pin());
  EXPECT_TRUE(daemon.preload_request.no_wait());
  EXPECT_EQ(Run({"-o", "name", "load", kReference, "--private"}).out, std::string(kId) + "\n");
  EXPECT_TRUE(daemon.preload_request.spec().private_copy());
}

TEST_F(VerbTest, LoadFindsTheGpuThatModeldCountsSo) {
  for (const uint32_t index : {1, 0}) {
    v1::Device& gpu = *daemon.devices.add_devices();
    gpu.set_id(index == 0 ? "GPU-aaaa" : "GPU-aabb");
    gpu.set_kind(v1::Device::CUDA);
    gpu.set_index(index);
  }
  daemon.devices.add_devices()->set_id("host");
  const auto device_of = [&](const std::string& name) {
    const ModelctlResult result = Run({"load", kReference, "--device", name});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return daemon.preload_request.spec().device();
  };
  EXPECT_EQ(device_of("cuda:0"), "GPU-aaaa");
  EXPECT_EQ(device_of("cuda:1"), "GPU-aabb");
  EXPECT_EQ(device_of("GPU-AAB"), "GPU-aabb");
  EXPECT_EQ(device_of("host"), "host");
  EXPECT_FALSE(daemon.preload_request.spec().keep_host());
  EXPECT_EQ(Run({"load", kReference, "--device", "cuda:0", "--keep-host"}).exit_code, 0);
  EXPECT_TRUE(daemon.preload_request.spec().keep_host());

  const int loads = daemon.loads_started;
  const ModelctlResult none = Run({"load", kReference, "--device", "cuda:2"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_EQ(none.err,
            "modelctl: modeld has no cuda:2, but: cuda:0 (GPU-aaaa), cuda:1 (GPU-aabb)\n"
            "  next: modelctl devices\n");
  EXPECT_EQ(Run({"load", kReference, "--device", "GPU-aa"}).exit_code, 2) << "which of the two?";
  EXPECT_EQ(Run({"load", kReference, "--device", "GPU-b"}).exit_code, 1);
  EXPECT_EQ(Run({"load", kReference, "--device", "cuda"}).exit_code, 2);
  EXPECT_EQ(Run({"load", kReference, "--device", "gpu0"}).exit_code, 2);
  EXPECT_EQ(daemon.loads_started, loads);
}

TEST_F(VerbTest, CtrlCCancelsALoad) {
  daemon.load_hangs = true;
  const auto load = Start({"load", kReference});
  EXPECT_TRUE(Eventually([&] { return daemon.loads_started == 1; }));
  load->Signal(SIGINT);
  const ModelctlResult result = load->Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_NE(result.err.find("interrupted: the load is cancelled"), std::string::npos) << result.err;
  EXPECT_TRUE(Eventually([&] { return daemon.loads_cancelled == 1; }));
}

TEST_F(VerbTest, LoadShowsABarOnATerminalAndTakesItAway) {
  daemon.load_hangs = true;
  const auto load = Start({"load", kReference}, {.terminal = true, .columns = 100});
  EXPECT_TRUE(load->WaitForOut("[###############---------------]  50%  512.0 MiB of 1.0 GiB"))
      << load->out();
  load->Signal(SIGINT);
  const ModelctlResult result = load->Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_NE(result.out.find("\r\033[Kmodelctl: interrupted"), std::string::npos) << result.out;
}

TEST_F(VerbTest, NoColourMeansNoColour) {
  EXPECT_NE(Run({"ps"}, {.terminal = true}).out.find("\033[32mREADY"), std::string::npos);
  EXPECT_EQ(Run({"ps"}, {.env = {"NO_COLOR=1"}, .terminal = true}).out.find('\033'),
            std::string::npos);
  EXPECT_EQ(Run({"ps"}, {.env = {"TERM=dumb"}, .terminal = true}).out.find('\033'),
            std::string::npos);
}

TEST_F(VerbTest, PinAndUnpinAnswer) {
  EXPECT_EQ(Run({"pin", "3f2a"}).out, "pinned 3f2a91c0 models/backbone.safetensors\n");
  EXPECT_EQ(Run({"unpin", kReference}).out, "unpinned 3f2a91c0 models/backbone.safetensors\n");
}

TEST_F(VerbTest, PinWithoutASelectorListsThePins) {
  v1::Pin& pin = *daemon.pins.add_pins();
  pin.set_reference(kReference);
  pin.set_device("host");
  EXPECT_EQ(Run({"pin", "-o", "name"}).out, std::string(kReference) + "\n");
  EXPECT_EQ(RunJson({"pin"})["pins"][0]["reference"], kReference);
}

TEST_F(VerbTest, RefusalsHaveTheirExitCodesAndHints) {
  daemon.refuse = wire::MakeError(wire::Reason::kBudgetExceeded, "4 GiB are needed, 1 GiB is free",
                                  {}, "modelctl ps");
  const ModelctlResult result = Run({"load", "big"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "modelctl: 4 GiB are needed, 1 GiB is free\n  next: modelctl ps\n");
}

TEST_F(VerbTest, AnUnadmittedUserIsToldByAttachSock) {
  // What a real daemon does on modeld.sock: it hangs up before gRPC speaks.
  daemon.refuse_peers =
      wire::MakeError(wire::Reason::kPeerNotAllowed, "uid 1000 may not use this modeld");
  daemon.refuse = absl::UnavailableError("Socket closed");
  const ModelctlResult result = Run({"ps"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_NE(
      result.err.find("uid 1000 may not use this modeld\n  next: ask for a place in allow_uids"),
      std::string::npos)
      << result.err;
}

// ---- verify and export ----

TEST_F(VerbTest, VerifyRecomputesEveryDigest) {
  const json report = RunJson({"verify", "3f2a"});
  EXPECT_EQ(report["residency_id"], kId);
  EXPECT_EQ(report["tensor_count"], "3");
  EXPECT_EQ(report["expected_digest"], model.weights_digest);
  EXPECT_EQ(report["found_digest"], model.weights_digest);
  EXPECT_EQ(report["mismatches"].size(), 0u);
  EXPECT_EQ(daemon.acquire_request.resume().residency_id(), kId) << "that residency, and no other";
  EXPECT_EQ(daemon.acquire_request.resume().generation(), 7u);
  EXPECT_EQ(daemon.acquire_request.scope(), "modelctl/verify");
  EXPECT_TRUE(Eventually([&] { return daemon.leases_ended == 1; }));
}

TEST_F(VerbTest, VerifyWaitsForADigestThatComesLateAndAfterANewVersion) {
  daemon.digest_comes_late = true;
  EXPECT_EQ(RunJson({"verify", kId})["found_digest"], model.weights_digest);
}

TEST_F(VerbTest, VerifyOfWhatIsLoadingWaitsForThatAndNoOther) {
  daemon.residencies.mutable_residencies(0)->set_state(v1::Residency::LOADING);
  daemon.residencies.mutable_residencies(0)->add_aliases("prod");
  EXPECT_EQ(Run({"verify", "prod"}).exit_code, 0);
  EXPECT_EQ(daemon.acquire_request.spec().reference(), "prod") << "the lease is shown under it";
  EXPECT_EQ(daemon.acquire_request.resume().residency_id(), kId) << "its load configuration counts";
  EXPECT_EQ(Run({"verify", kId}).exit_code, 0);
  EXPECT_EQ(daemon.acquire_request.spec().reference(), kReference);
  EXPECT_EQ(daemon.acquire_request.resume().residency_id(), kId);
}

TEST_F(VerbTest, VerifyNamesTheTensorThatDiffers) {
  std::vector<wire::Digest> digests = model.digests;
  digests[1][0] ^= std::byte{1};  // `b`: the table is sorted by name
  const std::string expected = wire::DigestText(digests[1]);
  const std::string found = wire::DigestText(model.digests[1]);
  model.SetDigests(digests);
  const ModelctlResult result = Run({"verify", kId});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.out.find("DIFFERENT"), std::string::npos) << result.out;
  EXPECT_NE(result.err.find("tensor b of models/backbone.safetensors differs: expected " +
                            expected + ", found " + found),
            std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("next: modelctl evict"), std::string::npos);
}

TEST_F(VerbTest, VerifyNoticesAWrongWeightsDigest) {
  model.weights_digest = "sha256:0000";
  const ModelctlResult result = Run({"verify", kId});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find(
                "the weights digest of models/backbone.safetensors differs: expected sha256:0000"),
            std::string::npos)
      << result.err;
}

TEST_F(VerbTest, VerifyAcquiresAReferenceThatIsNotResident) {
  EXPECT_EQ(Run({"verify", "models/other.safetensors"}).exit_code, 0);
  EXPECT_EQ(daemon.acquire_request.spec().reference(), "models/other.safetensors");
  EXPECT_FALSE(daemon.acquire_request.has_resume());
}

TEST_F(VerbTest, VerifyOfADigestThatIsNotResidentIsNotFound) {
  EXPECT_EQ(Run({"verify", "sha256:1234"}).exit_code, 4);
}

TEST_F(VerbTest, VerifyTellsWhatAnAcquireIsRefusedWith) {
  daemon.refuse =
      wire::MakeError(wire::Reason::kCheckpointNotFound, "no file x", {}, "check the path");
  const ModelctlResult result = Run({"verify", "x"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.err, "modelctl: no file x\n  next: check the path\n");
}

TEST_F(VerbTest, ExportWritesTheTensorsInTheirOrder) {
  const TempDir dir;
  const ModelctlResult result = Run({"export", kId, dir / "out.safetensors"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::string bytes = ReadFile(dir / "out.safetensors");
  EXPECT_NE(
      bytes.find(
          R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"a")"),
      std::string::npos);
  const std::string& s = model.segment_bytes;
  EXPECT_TRUE(bytes.ends_with(s.substr(0, 24) + s.substr(64, 16) + s.substr(80, 8)));
  EXPECT_EQ(result.out, "wrote " + (dir / "out.safetensors") + ": 3 tensors, " +
                            std::to_string(bytes.size()) + " B\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1)
      << "no temporary file is left";
}

TEST_F(VerbTest, ExportGoesToAPipeAndNotToATerminal) {
  const TempDir dir;
  ASSERT_EQ(Run({"export", kId, dir / "file"}).exit_code, 0);
  EXPECT_EQ(Run({"export", kId}).out, ReadFile(dir / "file"));
  EXPECT_EQ(Run({"export", kId, "-"}).out, ReadFile(dir / "file"));
  const ModelctlResult refused = Run({"export", kId}, {.terminal = true});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.out.find("nothing for a terminal"), std::string::npos);
}

TEST_F(VerbTest, ExportToAFullDeviceFailsClearly) {
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"export", kId, "/dev/full"}, {"export", kId, "-"}}) {
    const ModelctlResult result = Run(args, {.stdout_path = "/dev/full"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.err.find("No space left on device\n  next: make room there"),
              std::string::npos)
        << result.err;
  }
}

// ---- completion ----

TEST_F(VerbTest, CompletionOffersVerbsFlagsIdsAndReferences) {
  const std::string bin = std::filesystem::path(ModelctlPath()).parent_path();
  const auto complete = [&](const std::string& words, int index) {
    const std::string script = "source '" MODELD_COMPLETION "'; COMP_WORDS=(" + words +
                               "); COMP_CWORD=" + std::to_string(index) + "; COMP_LINE='" + words +
                               "'; _modelctl 2>/dev/null; " + "printf '%s\\n' \"${COMPREPLY[@]}\"";
    const std::string command = "PATH='" + bin + "':$PATH MODELD_ENDPOINT='" + daemon.endpoint() +
                                "' bash --norc -c \"$COMPLETION_SCRIPT\"";
    setenv("COMPLETION_SCRIPT", script.c_str(), 1);
    std::string out;
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[4096];
    while (const size_t size = fread(buffer, 1, sizeof(buffer), pipe)) out.append(buffer, size);
    pclose(pipe);
    return out;
  };
  EXPECT_EQ(complete("modelctl ev", 1), "evict\nevents\n");
  EXPECT_EQ(complete("modelctl load --p", 2), "--private\n--pin\n");
  EXPECT_EQ(complete("modelctl -o ''", 2), "table\nwide\njson\nname\n");
  EXPECT_EQ(complete("modelctl evict 3", 2), std::string(kId) + "\n");
  EXPECT_EQ(complete("modelctl evict --d", 2), "--drain\n--dry-run\n");
  EXPECT_EQ(complete("modelctl load x --keep-alive f", 4), "forever\n");
  daemon.aliases.add_aliases()->set_name("prod");
  EXPECT_EQ(complete("modelctl why pr", 2), "prod\n");
  EXPECT_EQ(complete("modelctl alias r", 2), "rm\n");
  EXPECT_EQ(complete("modelctl alias rm p", 3), "prod\n");
  EXPECT_EQ(complete("modelctl alias set p", 3), "prod\n");
  EXPECT_EQ(complete("modelctl alias set prod --wait", 4), "--wait-for-room\n");
  EXPECT_EQ(complete("modelctl alias ls --", 3).find("--wait"), std::string::npos);
  EXPECT_EQ(complete("modelctl -o wide get models", 4), std::string(kReference) + "\n");

  const TempDir hub;
  hub.Mkdir("hub/models--some-org--a-model");
  hub.Mkdir("hub/models--some-old-model");
  setenv("HF_HOME", hub.path().c_str(), 1);
  EXPECT_EQ(complete("modelctl load some-", 2), "some-old-model\nsome-org/a-model\n");
  unsetenv("HF_HOME");
}

}  // namespace
}  // namespace modeld::test
