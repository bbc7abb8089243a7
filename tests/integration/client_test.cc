// libmodeld against a real modeld: on the host, and, told so by the environment, on a GPU of
// tests/fake_cudart, whose memory a process can read in place. A run is on one device, because CUDA
// and its stand-in are the process' own.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "modeld/client.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/thrown_error.h"
#include "support/worker_process.h"
#include "wire/dtype.h"
#include "wire/mutex.h"

namespace modeld::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string FromEnvironment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

// A GPU's UUID, or `host`.
std::string Device() { return FromEnvironment("MODELD_TEST_DEVICE", "host"); }

ModelSpec Spec(const std::string& reference) {
  return {.reference = reference, .device = Device()};
}

bool Reaches(const Model& model, Model::State state) {
  return Eventually([&] { return model.state() == state; });
}

class ClientWithDaemon : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.running());
    WriteCheckpoint(daemon_.root() + "/small", spec_);
    client_ = Client::Connect(daemon_.endpoint());
  }

  uint32_t LeaseCount() {
    const auto info = RpcClient(daemon_.socket()).ServerInfo();
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? info->lease_count() : ~0u;
  }
  bool ComesToLeases(uint32_t count) {
    return Eventually([&] { return LeaseCount() == count; });
  }
  void ExpectTheFilesBytes(const Model& model) {
    ASSERT_EQ(model.size(), spec_.tensors.size());
    for (size_t i = 0; i < spec_.tensors.size(); ++i) {
      const TensorView tensor = model.at(spec_.tensors[i].name);
      EXPECT_EQ(DTypeName(tensor.dtype), wire::DTypeName(spec_.tensors[i].dtype));
      EXPECT_THAT(tensor.shape, ElementsAreArray(spec_.tensors[i].shape));
      const std::string expected = TensorBytes(spec_, i);
      ASSERT_EQ(tensor.size_bytes, expected.size());
      EXPECT_EQ(std::memcmp(tensor.data, expected.data(), expected.size()), 0) << tensor.name;
    }
  }

  DaemonFixture daemon_{{.host_capacity = "256MiB",
                         .config = "gpu_capacity = [\"256MiB\"]\ngpu_export = [\"" +
                                   FromEnvironment("MODELD_TEST_EXPORT", "auto") + "\"]\n"}};
  const CheckpointSpec spec_ = SmallSpec();
  std::shared_ptr<Client> client_;
};

TEST_F(ClientWithDaemon, MapsTheFilesTensorsInTheFilesOrder) {
  const auto model = client_->Acquire(Spec("small"));
  ExpectTheFilesBytes(*model);
  for (size_t i = 0; i < model->size(); ++i) EXPECT_EQ((*model)[i].name, spec_.tensors[i].name);
  EXPECT_EQ(model->size_bytes(), spec_.tensor_bytes());
  EXPECT_EQ(model->device(), Device());
}

TEST_F(ClientWithDaemon, LearnsTheDigest) {
  const auto model = client_->Acquire(Spec("small"));
  ASSERT_TRUE(Eventually([&] { return !model->digest().empty(); }));
  EXPECT_THAT(model->digest(), StartsWith("sha256:"));
  EXPECT_EQ(model->digest().size(), 7u + 64u);
}

TEST_F(ClientWithDaemon, ShowsItsScopeAgainstTheLease) {
  const auto model = client_->Acquire(Spec("small"), {.scope = "world/stage/pipeline/graph/node"});
  grpc::ClientContext context;
  v1::ListLeasesResponse leases;
  ASSERT_TRUE(RpcClient(daemon_.socket()).residency().ListLeases(&context, {}, &leases).ok());
  ASSERT_EQ(leases.leases_size(), 1);
  EXPECT_EQ(leases.leases(0).scope(), "world/stage/pipeline/graph/node");
  EXPECT_EQ(leases.leases(0).pid(), getpid());
  EXPECT_EQ(leases.leases(0).uid(), geteuid());
  EXPECT_EQ(leases.leases(0).residency_id(), model->residency_id());
}

TEST_F(ClientWithDaemon, IsToldWhatIsWrongWithAReference) {
  const Error missing = ThrownBy([&] { client_->Acquire(Spec("missing")); });
  EXPECT_EQ(missing.code(), ErrorCode::kNotFound);
  EXPECT_EQ(missing.reason(), "CHECKPOINT_NOT_FOUND");
  EXPECT_THAT(missing.what(), HasSubstr("missing"));
  const Error outside = ThrownBy([&] { client_->Acquire(Spec("/etc/passwd")); });
  EXPECT_EQ(outside.code(), ErrorCode::kPermissionDenied);
  EXPECT_EQ(outside.reason(), "PATH_NOT_ALLOWED");
}

TEST_F(ClientWithDaemon, IsRefusedWhatIsTooBigAndTimesOutWaitingForRoom) {
  WriteCheckpoint(daemon_.root() + "/huge", LargeSpec(300 << 20));
  const Error huge = ThrownBy([&] { client_->Acquire(Spec("huge")); });
  EXPECT_EQ(huge.code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(huge.reason(), "BUDGET_EXCEEDED");

  WriteCheckpoint(daemon_.root() + "/a", LargeSpec(150 << 20, 16, 1));
  WriteCheckpoint(daemon_.root() + "/b", LargeSpec(150 << 20, 16, 2));
  auto a = client_->Acquire(Spec("a"));
  const Error error =
      ThrownBy([&] { client_->Acquire(Spec("b"), {.timeout = milliseconds(300)}); });
  EXPECT_TRUE(error.code() == ErrorCode::kDeadlineExceeded ||
              error.code() == ErrorCode::kResourceExhausted)
      << error.what();
  a.reset();
  EXPECT_NE(client_->Acquire(Spec("b"), {.timeout = seconds(60)}), nullptr);
}

TEST_F(ClientWithDaemon, ReleasesWhenTheModelGoes) {
  auto model = client_->Acquire(Spec("small"));
  EXPECT_EQ(LeaseCount(), 1u);
  model.reset();
  EXPECT_TRUE(ComesToLeases(0));
}

TEST_F(ClientWithDaemon, HoldsAThousandLeases) {
  constexpr int kLeases = 1000;
  std::vector<std::shared_ptr<const Model>> models;
  for (int i = 0; i < kLeases; ++i) {
    const std::string name = "link" + std::to_string(i);
    ASSERT_EQ(symlink("small", (daemon_.root() + "/" + name).c_str()), 0);
    models.push_back(client_->Acquire(Spec(name)));
    ASSERT_EQ(models.back()->residency_id(), models.front()->residency_id());
  }
  EXPECT_EQ(LeaseCount(), kLeases);
  EXPECT_EQ(RpcClient(daemon_.socket()).List()->size(), 1u);
  models.clear();
  EXPECT_TRUE(ComesToLeases(0));
}

TEST_F(ClientWithDaemon, SharesTheBytesWithAnotherProcessAndAStoreKillsOnlyTheStorer) {
  if (FromEnvironment("MODELD_TEST_EXPORT", "") == "ipc") {
    GTEST_SKIP() << "CUDA IPC has no read-only mappings";
  }
  const auto model = client_->Acquire(Spec("small"));
  WorkerProcess worker(daemon_.endpoint());
  EXPECT_THAT(worker.Ask("acquire small"), StartsWith("ok " + model->residency_id()));
  EXPECT_EQ(LeaseCount(), 2u);
  worker.Send("store");
  const auto exit = worker.Wait();
  ASSERT_TRUE(exit.has_value());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_TRUE(exit->signaled);
  EXPECT_EQ(exit->value, SIGSEGV);
#endif
  EXPECT_FALSE(exit->ok());
  EXPECT_TRUE(ComesToLeases(1));
  ExpectTheFilesBytes(*model);
}

// ---- the daemon goes away ----

TEST_F(ClientWithDaemon, TakesItsLeasesUpAgainAfterAKill) {
  const auto model = client_->Acquire(Spec("small"));
  const void* const address = (*model)[0].data;
  daemon_.Kill(SIGKILL);
  ASSERT_TRUE(Reaches(*model, Model::State::kReconnecting));
  ExpectTheFilesBytes(*model);
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  ASSERT_TRUE(Reaches(*model, Model::State::kHeld));
  EXPECT_EQ(LeaseCount(), 1u);
  EXPECT_EQ((*model)[0].data, address);
  EXPECT_EQ(client_->Acquire(Spec("small")), model);
}

TEST_F(ClientWithDaemon, IsAskedToLetGoByADaemonThatStopsAndLosesTheLease) {
  auto model = client_->Acquire(Spec("small"));
  struct Seen {
    wire::Mutex mutex;
    std::vector<Model::State> states MODELD_GUARDED_BY(mutex);
  };
  const auto seen = std::make_shared<Seen>();
  model->OnStateChange([seen](Model::State state) {
    wire::MutexLock lock(seen->mutex);
    seen->states.push_back(state);
  });
  daemon_.Stop();
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  ASSERT_TRUE(Reaches(*model, Model::State::kLost));
  ExpectTheFilesBytes(*model);
  EXPECT_NE(client_->Acquire(Spec("small")), model);
  wire::MutexLock lock(seen->mutex);
  EXPECT_THAT(seen->states, ElementsAre(Model::State::kDraining, Model::State::kReconnecting,
                                        Model::State::kLost));
}

TEST_F(ClientWithDaemon, LosesWhatNoAgentHasKeptAndGetsItAnew) {
  const auto model = client_->Acquire(Spec("small"));
  daemon_.Kill(SIGKILL);
  daemon_.KillAgent(Device());
  daemon_.Start();
  ASSERT_TRUE(daemon_.running());
  ASSERT_TRUE(Reaches(*model, Model::State::kLost));
  ExpectTheFilesBytes(*model);
  const auto anew = client_->Acquire(Spec("small"));
  EXPECT_NE(anew, model);
  EXPECT_EQ(anew->state(), Model::State::kHeld);
  ExpectTheFilesBytes(*anew);
}

TEST_F(ClientWithDaemon, GetsWhatItWaitsForFromTheNextDaemon) {
  WriteCheckpoint(daemon_.root() + "/large", LargeSpec(128 << 20));
  std::atomic<bool> loading{false};
  std::shared_ptr<const Model> model;
  std::thread waiter([&] {
    model =
        client_->Acquire(Spec("large"), {.on_progress = [&](const Progress&) { loading = true; }});
  });
  EXPECT_TRUE(Eventually([&] { return loading.load(); }));
  daemon_.Kill(SIGKILL);
  daemon_.Start();
  waiter.join();
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->state(), Model::State::kHeld);
}

TEST_F(ClientWithDaemon, SurvivesManyThreadsAndKills) {
  std::atomic<bool> stop{false};
  std::atomic<int> acquired{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const auto model = client_->Acquire(Spec("small"));
        ASSERT_NE((*model)[0].data, nullptr);
        ++acquired;
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    const int before = acquired;
    EXPECT_TRUE(Eventually([&] { return acquired > before + 20; }));
    daemon_.Kill(SIGKILL);
    daemon_.Start();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ComesToLeases(0));
}

}  // namespace
}  // namespace modeld::test
