#include <grpcpp/completion_queue.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <string>
#include <thread>

#include "harness.h"
#include "rpc/protocol.h"
#include "support/sanitizer.h"

namespace modeld::rpc {
namespace {

using wire::Reason;

uint64_t PrivateBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0, resident = 0, shared = 0;
  statm >> total >> resident >> shared;
  return (resident - shared) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

TEST(Acquire, GrantsALeaseThatLastsAsLongAsItsStream) {
  Harness harness;
  Worker worker(harness);
  auto lease = worker.Acquire("model-2");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  EXPECT_EQ(granted->device(), "host");
  EXPECT_EQ(granted->segments_size(), 2);
  EXPECT_EQ(granted->segments(0).kind(), v1::Segment::HOST_MEMFD);
  EXPECT_EQ(granted->format(), "safetensors");

  const residency::Snapshot snapshot = harness.Snapshot();
  ASSERT_EQ(snapshot.leases.size(), 1u);
  EXPECT_EQ(std::to_string(snapshot.leases[0].id), granted->lease_id());
  EXPECT_EQ(snapshot.leases[0].holder.pid, ::getpid());
  EXPECT_EQ(snapshot.leases[0].holder.program, "rpc_test");
  EXPECT_EQ(snapshot.leases[0].holder.scope, "world/stage/pipeline/graph/node");
  lease.reset();
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 0; }));
}

TEST(Acquire, ReportsProgressThenTheGrant) {
  Harness harness({.hold_loads = true});
  Worker worker(harness);
  const auto lease = worker.Acquire("model-2");
  const std::string id = harness.backend().WaitForLoad();
  harness.manager().OnLoadProgress(id, 1 << 20);
  while (true) {
    const auto update = lease->Read();
    ASSERT_TRUE(update && update->has_progress());
    if (update->progress().bytes_done() == 1 << 20) break;
  }
  harness.backend().FinishLoad(id);
  EXPECT_TRUE(lease->ReadGranted());
}

TEST(Acquire, RefusesACallWithoutASession) {
  Harness harness;
  const auto channel = Dial(harness.path("modeld.sock"));
  for (const std::string& session : {std::string(), std::string(16, 'x'), std::string("short")}) {
    Lease lease(*channel, session, RequestFor("model-1"));
    const grpc::Status status = lease.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(ReasonOf(status), Reason::kSessionInvalid);
  }
  EXPECT_EQ(harness.Snapshot().residencies.size(), 0u);
}

TEST(Acquire, RefusesASessionThatIsOverAndLeavesItsLeasesAlone) {
  Harness harness;
  auto attach = std::make_unique<AttachClient>(harness);
  const std::string session = attach->session_id();
  const auto channel = Dial(harness.path("modeld.sock"));
  Lease lease(*channel, session, RequestFor("model-1"));
  ASSERT_TRUE(lease.ReadGranted());
  attach.reset();
  EXPECT_TRUE(Eventually([&] {
    Lease late(*channel, session, RequestFor("model-1"));
    return !late.ReadGranted() && ReasonOf(late.Finish()) == Reason::kSessionInvalid;
  }));
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 1; }));
}

TEST(Acquire, SaysWhyItRefuses) {
  Harness harness;
  Worker worker(harness);
  EXPECT_EQ(ReasonOf(worker.Acquire("no-such-model")->Finish()), Reason::kCheckpointNotFound);
  EXPECT_EQ(ReasonOf(worker.Acquire("")->Finish()), Reason::kFieldInvalid);
  // 8 GiB is all there is.
  EXPECT_EQ(ReasonOf(worker.Acquire("model-5000")->Finish()), Reason::kBudgetExceeded);
}

TEST(Acquire, GivesUpAtItsTimeout) {
  Harness harness({.hold_loads = true});
  Worker worker(harness);
  v1::AcquireRequest request = RequestFor("model-1");
  request.mutable_wait_timeout()->set_nanos(1'000'000);
  Lease lease(*worker.channel, worker.attach.session_id(), request);
  EXPECT_EQ(ReasonOf(lease.Finish()), Reason::kDeadlineExceeded);
}

TEST(Acquire, CancelsTheLoadWhenTheOnlyOneWhoWaitedIsGone) {
  Harness harness({.hold_loads = true});
  Worker worker(harness);
  auto lease = worker.Acquire("model-1");
  harness.backend().WaitForLoad();
  lease->Cancel();
  EXPECT_EQ(lease->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] {
    const residency::Snapshot snapshot = harness.Snapshot();
    return snapshot.residencies.size() == 1 && residency::IsEnded(snapshot.residencies[0].state);
  }));
}

TEST(Acquire, ReleasesTheLeaseOfAClientWhoseConnectionBreaks) {
  Harness harness;
  auto worker = std::make_unique<Worker>(harness);
  auto lease = worker->Acquire("model-1");
  ASSERT_TRUE(lease->ReadGranted());
  lease.reset();
  worker.reset();
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 0; }));
}

TEST(Acquire, SurvivesBeingCancelledAtAnyMoment) {
  Harness harness;
  Worker worker(harness);
  for (int i = 0; i < 300; ++i) {
    auto lease = worker.Acquire("model-1");
    std::thread canceller([&, i] {
      const auto when = std::chrono::steady_clock::now() + std::chrono::microseconds(5 * i);
      while (std::chrono::steady_clock::now() < when) std::this_thread::yield();
      lease->Cancel();
    });
    lease->Finish();
    canceller.join();
  }
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 0; }));
}

TEST(Acquire, CostsLittleWhenAClientNeverReadsItsStream) {
  Harness harness({.hold_loads = true});
  Worker neighbour(harness);
  Worker deaf(harness);
  grpc::ClientContext context;
  context.AddMetadata(kSessionMetadataKey, deaf.attach.session_id());
  grpc::CompletionQueue queue;
  auto stream = deaf.stub()->AsyncAcquire(&context, RequestFor("model-1"), &queue, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  const std::string id = harness.backend().WaitForLoad();

  constexpr uint64_t kUpdates = 200'000;
  const auto update_many = [&] {
    for (uint64_t i = 1; i <= kUpdates; ++i) harness.manager().OnLoadProgress(id, i);
    return PrivateBytes();
  };
  // First the buffers of the connection fill up, this client's own among them; from then on nothing
  // may grow. Queued, the second half would be 20 MB and more.
  const uint64_t before = update_many();
  const uint64_t after = update_many();
  if (!test::kSanitized) {  // ASan keeps what was freed
    EXPECT_LT(after, before + (4 << 20));
  }

  // Nobody else is held up.
  const auto other = neighbour.Acquire("model-1");
  harness.backend().FinishLoad(id);
  EXPECT_TRUE(other->ReadGranted());

  // Once it reads, it finds what matters.
  v1::AcquireUpdate update;
  uint64_t read = 0;
  while (!update.has_granted()) {
    stream->Read(&update, nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    ++read;
  }
  EXPECT_LT(read, kUpdates / 2);
  EXPECT_EQ(harness.lease_count(), 2u);

  context.TryCancel();
  grpc::Status status;
  stream->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  queue.Shutdown();
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 1; }));
}

TEST(Acquire, TellsHoldersWhatHappensToTheirModel) {
  Harness harness;
  Worker worker(harness);
  const auto lease = worker.Acquire("model-1");
  ASSERT_TRUE(lease->ReadGranted());
  harness.manager().BeginShutdown();
  const auto update = lease->Read();
  ASSERT_TRUE(update);
  EXPECT_TRUE(update->has_drain_requested());
  EXPECT_EQ(ReasonOf(worker.Acquire("model-1")->Finish()), Reason::kDraining);
}

TEST(Acquire, ServesAThousandLeasesOfOneProcess) {
  Harness harness;
  Worker worker(harness);
  std::vector<std::unique_ptr<Lease>> leases;
  for (int i = 0; i < 1000; ++i) {
    leases.push_back(worker.Acquire("model-1"));
    ASSERT_TRUE(leases.back()->ReadGranted());
  }
  EXPECT_EQ(harness.lease_count(), 1000u);
  // Destroying them one by one would wait for each.
  for (const auto& lease : leases) lease->Cancel();
  leases.clear();
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 0; }));
}

TEST(Acquire, ServesFiveHundredConnectionsAtOnce) {
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_cur < 4096) GTEST_SKIP() << "the limit of open files is " << limit.rlim_cur;
  Harness harness;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::unique_ptr<Lease>> leases;
  for (int i = 0; i < 500; ++i) {
    workers.push_back(std::make_unique<Worker>(harness));
    leases.push_back(workers.back()->Acquire("model-1"));
  }
  for (int i = 0; i < 500; ++i) {
    const auto granted = leases[i]->ReadGranted();
    ASSERT_TRUE(granted) << i;
    EXPECT_EQ(workers[i]->attach.GetLeaseFds(granted->lease_id()).fds.size(), 2u);
  }
  const residency::Snapshot snapshot = harness.Snapshot();
  EXPECT_EQ(snapshot.leases.size(), 500u);
  EXPECT_EQ(snapshot.residencies.size(), 1u);
  for (const auto& lease : leases) lease->Cancel();
  leases.clear();
  workers.clear();
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 0; }));
}

TEST(Acquire, TurnsAwayConnectionsOverTheLimitUntilOthersClose) {
  Harness harness({.max_connections = 2});
  AttachClient attach(harness);
  const auto info = [&](const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    v1::GetServerInfoResponse response;
    return v1::ResidencyService::NewStub(channel)->GetServerInfo(&context, {}, &response);
  };
  auto first = Dial(harness.path("modeld.sock"));
  auto second = Dial(harness.path("modeld.sock"));
  EXPECT_TRUE(info(first).ok());
  EXPECT_TRUE(info(second).ok());
  EXPECT_FALSE(info(Dial(harness.path("modeld.sock"))).ok());
  first.reset();
  EXPECT_TRUE(Eventually([&] { return info(Dial(harness.path("modeld.sock"))).ok(); }));
}

}  // namespace
}  // namespace modeld::rpc
