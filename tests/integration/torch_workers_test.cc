// What PyTorch saves, through a real modeld, in workers with LibTorch: torch_workers.py writes the
// checkpoints and says what PyTorch makes of them. TORCH_PYTHON names its Python: Debian's unless
// it is set.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/temp_dir.h"
#include "support/worker_process.h"

namespace modeld::test {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr bool kHasAdapter = *MODELD_TEST_TORCH_WORKER != '\0';

std::string Python() {
  const char* const chosen = std::getenv("TORCH_PYTHON");
  return chosen != nullptr ? chosen : "/usr/bin/python3";
}

// The second word of an answer.
std::string Second(const std::string& answer) {
  const size_t begin = answer.find(' ') + 1;
  return answer.substr(begin, answer.find(' ', begin) - begin);
}

class TorchWorkers : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    files_ = new TempDir;
    const std::string python = Python() + " -W ignore ";
    if (!kHasAdapter || std::system((python + "-c 'import torch' 2>/dev/null").c_str()) != 0)
      return;
    const std::string write = python + "'" MODELD_TORCH_WORKERS "' '" + files_->path() + "'";
    ASSERT_EQ(std::system(write.c_str()), 0);
    std::ifstream(*files_ / "expected.json") >> expected_;
    version_ = Second(StartWorker("").Ask("version"));
  }
  static void TearDownTestSuite() {
    expected_ = nullptr;
    delete files_;
  }
  void SetUp() override {
    if (!kHasAdapter) {
      GTEST_SKIP() << "built without the LibTorch adapter: install libtorch-dev, or set Torch_DIR";
    }
    if (expected_.is_null()) {
      GTEST_SKIP() << Python() << " has no PyTorch: install python3-torch, or set TORCH_PYTHON";
    }
    ASSERT_TRUE(daemon_.running());
    // Another version may round otherwise, and older ones do not read what newer ones save.
    const std::string theirs = expected_["torch"];
    if (!theirs.starts_with(version_ + ".")) {
      GTEST_SKIP() << "PyTorch " << theirs << " writes and LibTorch " << version_
                   << " reads: set TORCH_PYTHON or Torch_DIR to the same version";
    }
  }

  static WorkerProcess StartWorker(const std::string& endpoint) {
    return WorkerProcess(endpoint, {},
                         TestProgram("modeld-test-torch-worker", MODELD_TEST_TORCH_WORKER));
  }
  WorkerProcess StartWorker() const { return StartWorker(daemon_.endpoint()); }
  // What PyTorch computes with the checkpoint of that name.
  std::string Expected(const std::string& name) const {
    return "output " + expected_["outputs"][name].get<std::string>();
  }
  // What a worker without modeld computes with it.
  std::string Private(const std::string& name) const {
    WorkerProcess worker = StartWorker();
    EXPECT_EQ(worker.Ask("private " + (*files_ / name)), "private");
    return worker.Ask("output");
  }
  // The residency's id.
  std::string Acquire(WorkerProcess& worker, const std::string& reference) const {
    const std::string answer = worker.Ask("acquire " + reference);
    EXPECT_THAT(answer, StartsWith("ok "));
    return Second(answer);
  }
  // A module over resident weights that computes what the name's archive says.
  void ExpectScript(WorkerProcess& worker, const std::string& name) const {
    SCOPED_TRACE(name);
    Acquire(worker, name);
    EXPECT_THAT(worker.Ask("script"), StartsWith("script "));
    EXPECT_EQ(worker.Ask("output"), Expected(name));
  }
  // All that PyTorch finds in the checkpoint, and nothing else.
  void ExpectTensors(WorkerProcess& worker, const std::string& name,
                     const std::string& prefix = "") const {
    const auto& checkpoint = expected_.at("checkpoints").at(name);
    const auto& tensors = checkpoint.at("tensors");
    const std::string answer = worker.Ask("acquire " + name + " " + prefix);
    EXPECT_THAT(answer, testing::EndsWith(" " + std::to_string(tensors.size())));
    for (const auto& [tensor, description] : tensors.items()) {
      EXPECT_EQ(worker.Ask("tensor " + tensor), "tensor " + description.get<std::string>())
          << tensor;
    }
    EXPECT_EQ(DigestOf(worker), checkpoint.at("digest").get<std::string>());
  }
  static std::string DigestOf(WorkerProcess& worker) {
    std::string digest;
    EXPECT_TRUE(Eventually([&] { return !(digest = Second(worker.Ask("digest"))).empty(); }));
    return digest;
  }
  // Once its last lease has ended.
  void Evict(const std::string& residency) const {
    RpcClient admin(daemon_.socket("admin.sock"));
    EXPECT_TRUE(Eventually([&] { return admin.Evict(residency).ok(); }));
  }
  std::vector<v1::Residency> List() const {
    auto list = RpcClient(daemon_.socket()).List();
    EXPECT_TRUE(list.ok()) << list.status();
    return *std::move(list);
  }

  static TempDir* files_;
  static nlohmann::json expected_;  // null: nothing could be written
  static std::string version_;      // of the workers' LibTorch
  DaemonFixture daemon_{{.host_capacity = "256MiB", .roots = {files_->path()}}};
};

TempDir* TorchWorkers::files_ = nullptr;
nlohmann::json TorchWorkers::expected_;
std::string TorchWorkers::version_;

TEST_F(TorchWorkers, TwoRunOneTorchScriptModuleOverOneCopyAsAPrivateCopyWould) {
  WorkerProcess one = StartWorker();
  WorkerProcess two = StartWorker();
  for (WorkerProcess* worker : {&one, &two}) {
    Acquire(*worker, "scripted.pt");
    EXPECT_EQ(worker->Ask("script"), "script 6 of 6");
    EXPECT_EQ(worker->Ask("output"), Expected("scripted.pt"));
  }
  EXPECT_EQ(Private("scripted.pt"), Expected("scripted.pt"));
  const auto list = List();
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_EQ(list[0].lease_count(), 2u);
  EXPECT_THAT(list[0].references(), ElementsAre("scripted.pt"));
}

TEST_F(TorchWorkers, ATracedModuleHasItsConstants) {
  WorkerProcess one = StartWorker();
  WorkerProcess two = StartWorker();
  ExpectScript(one, "traced.pt");
  ExpectScript(two, "traced.pt");
  EXPECT_EQ(Private("traced.pt"), Expected("traced.pt"));
  EXPECT_THAT(List(), SizeIs(1));
}

TEST_F(TorchWorkers, ModulesOfOtherCodeShareTheBytesAndEachRunsItsOwn) {
  WorkerProcess one = StartWorker();
  WorkerProcess two = StartWorker();
  ExpectScript(one, "scripted.pt");
  ExpectScript(two, "other.pt");
  EXPECT_NE(Expected("scripted.pt"), Expected("other.pt"));
  EXPECT_EQ(two.Ask("script"), "script 6 of 6");
  const auto list = List();
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_EQ(list[0].lease_count(), 2u);
  EXPECT_THAT(list[0].references(), ElementsAre("scripted.pt", "other.pt"));
  // The first one's code did not change with the second's arrival.
  EXPECT_EQ(one.Ask("script"), "script 6 of 6");
  EXPECT_EQ(one.Ask("output"), Expected("scripted.pt"));
}

TEST_F(TorchWorkers, EveryTensorIsTheOneThatPyTorchSaved) {
  WorkerProcess worker = StartWorker();
  ExpectTensors(worker, "net.pt");
  ExpectTensors(worker, "views.pt");
}

TEST_F(TorchWorkers, ATrainingCheckpointGivesTheStateDictThatThePrefixNames) {
  WorkerProcess worker = StartWorker();
  EXPECT_EQ(worker.Ask("acquire training.pt"), "error FIELD_INVALID");
  ExpectTensors(worker, "training.pt", "ema.");
  EXPECT_EQ(worker.Ask("bind"), "bind 6 3");
  EXPECT_EQ(worker.Ask("output"), Expected("net.pt"));
}

TEST_F(TorchWorkers, AStateDictBindsToAModule) {
  WorkerProcess one = StartWorker();
  WorkerProcess two = StartWorker();
  for (WorkerProcess* worker : {&one, &two}) {
    Acquire(*worker, "net.pt");
    EXPECT_EQ(worker->Ask("bind"), "bind 6 3");
    EXPECT_EQ(worker->Ask("output"), Expected("net.pt"));
  }
  const auto list = List();
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_EQ(list[0].lease_count(), 2u);
}

// Whatever was there first.
TEST_F(TorchWorkers, AStateDictIsOneCopyInEveryFormat) {
  const std::vector<std::string> names = {"net.pt", "scripted.pt", "net.safetensors"};
  std::vector<WorkerProcess> workers;
  for (size_t i = 0; i < names.size(); ++i) workers.push_back(StartWorker());
  for (size_t first = 0; first < names.size(); ++first) {
    SCOPED_TRACE(names[first] + " first");
    std::string residency;
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string& name = names[(first + i) % names.size()];
      SCOPED_TRACE(name);
      WorkerProcess& worker = workers[i];
      const std::string id = Acquire(worker, name);
      if (residency.empty()) residency = id;
      EXPECT_EQ(id, residency);
      EXPECT_EQ(DigestOf(worker), expected_["checkpoints"]["net.pt"]["digest"].get<std::string>());
      EXPECT_EQ(worker.Ask(name == "scripted.pt" ? "script" : "bind"),
                name == "scripted.pt" ? "script 6 of 6" : "bind 6 3");
      EXPECT_EQ(worker.Ask("output"), Expected("net.pt"));
    }
    const auto list = List();
    ASSERT_THAT(list, SizeIs(1));
    EXPECT_EQ(list[0].lease_count(), 3u);
    for (WorkerProcess& worker : workers) worker.Ask("release");
    Evict(residency);
  }
}

// The layout in memory is that of whoever came first; a module's own may be another.
TEST_F(TorchWorkers, AModuleFindsItsLayoutInACopyOfAnother) {
  const std::vector<std::vector<std::string>> groups = {
      {"straight.pt", "turned.pt"},         {"turned.pt", "straight.pt"},
      {"product.safetensors", "turned.pt"}, {"product.safetensors", "straight.pt"},
      {"repeated.pt", "expanded.pt"},       {"expanded.pt", "repeated.pt"},
  };
  WorkerProcess one = StartWorker();
  WorkerProcess two = StartWorker();
  for (const std::vector<std::string>& names : groups) {
    SCOPED_TRACE(names[0] + ", " + names[1]);
    const std::string residency = Acquire(one, names[0]);
    EXPECT_EQ(Acquire(two, names[1]), residency);
    if (names[0].ends_with(".pt")) ExpectScript(one, names[0]);
    ExpectScript(two, names[1]);
    one.Ask("release");
    two.Ask("release");
    Evict(residency);
  }
}

TEST_F(TorchWorkers, ResultsStayTheSameWhoeverIsKilled) {
  WorkerProcess script = StartWorker();
  WorkerProcess bound = StartWorker();
  WorkerProcess other = StartWorker();
  ExpectScript(script, "scripted.pt");
  ExpectScript(other, "other.pt");
  const std::string residency = Acquire(bound, "net.pt");
  ASSERT_EQ(bound.Ask("bind"), "bind 6 3");
  const auto expect_results = [&](const char* after) {
    SCOPED_TRACE(after);
    EXPECT_EQ(script.Ask("output"), Expected("scripted.pt"));
    EXPECT_EQ(bound.Ask("output"), Expected("net.pt"));
  };
  const auto expect_newcomer = [&] {
    WorkerProcess newcomer = StartWorker();
    EXPECT_EQ(Acquire(newcomer, "other.pt"), residency);
    EXPECT_EQ(newcomer.Ask("script"), "script 6 of 6");
    EXPECT_EQ(newcomer.Ask("output"), Expected("other.pt"));
  };
  expect_results("everybody is there");

  other.Kill();
  expect_results("a worker was killed");
  ASSERT_TRUE(Eventually([&] { return List().at(0).lease_count() == 2; }));

  daemon_.KillAgent();
  expect_results("the agent was killed");
  expect_newcomer();

  daemon_.Kill(SIGKILL);
  expect_results("modeld was killed");
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  ASSERT_TRUE(Eventually(
      [&] { return script.Ask("state") == "state HELD" && bound.Ask("state") == "state HELD"; }));
  expect_results("modeld came back");
  expect_newcomer();

  daemon_.Kill(SIGKILL);
  daemon_.KillAgent();
  expect_results("both were killed");
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  WorkerProcess newcomer = StartWorker();
  ExpectScript(newcomer, "scripted.pt");
  expect_results("all was loaded anew");
}

}  // namespace
}  // namespace modeld::test
