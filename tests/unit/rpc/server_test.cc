#include "rpc/server.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "harness.h"

namespace modeld::rpc {
namespace {

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

// A call by name, with the bytes of its request: the generated code of other services is not at
// hand.
std::pair<grpc::Status, std::string> CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                                             const std::string& method,
                                             const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  std::string bytes;
  std::vector<grpc::Slice> slices;
  if (status.ok() && response.Dump(&slices).ok()) {
    for (const grpc::Slice& part : slices) bytes.append(part.begin(), part.end());
  }
  return {status, bytes};
}

// grpc.health.v1.HealthCheckResponse { status = 1 }: SERVING is 1, NOT_SERVING 2.
std::string Health(const std::string& path) {
  return CallRaw(Dial(path), "/grpc.health.v1.Health/Check", "").second;
}

constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

TEST(Server, OpensItsSocketsNoWiderThanNeeded) {
  Harness harness;
  EXPECT_EQ(ModeOf(harness.path("modeld.sock")), 0660u);
  EXPECT_EQ(ModeOf(harness.path("attach.sock")), 0660u);
  EXPECT_EQ(ModeOf(harness.path("admin.sock")), 0600u);
}

TEST(Server, GivesTheSocketsOfWorkersToAGroup) {
  Harness harness;
  test::TempDir directory;
  ServerOptions options = harness.server_options();
  options.runtime_dir = directory.path();
  options.socket_group = ::getegid();
  EXPECT_TRUE(Server::Start(options, harness.server_deps()).ok());
  if (::geteuid() != 0) return;
  options.socket_group = 54'321;
  const auto server = Server::Start(options, harness.server_deps());
  ASSERT_TRUE(server.ok());
  struct stat info = {};
  ASSERT_EQ(::stat((directory / "modeld.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, 54'321u);
  ASSERT_EQ(::stat((directory / "admin.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, ::getegid());
}

TEST(Server, RefusesADirectoryThatAnotherOneServes) {
  Harness harness;
  const auto second = Server::Start(harness.server_options(), harness.server_deps());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  // And the first one goes on.
  Worker worker(harness);
  EXPECT_TRUE(worker.Acquire("model-1")->ReadGranted());
}

TEST(Server, IsServingOnlyOnceItIsTold) {
  Harness harness;
  for (const char* socket : {"modeld.sock", "admin.sock"}) {
    harness.server().SetServing(false);
    EXPECT_EQ(Health(harness.path(socket)), "\x08\x02");
    harness.server().SetServing(true);
    EXPECT_EQ(Health(harness.path(socket)), "\x08\x01");
  }
}

TEST(Server, IsNotServingAtFirst) {
  Harness harness;
  EXPECT_EQ(Health(harness.path("modeld.sock")), "\x08\x02");
}

TEST(Server, AnswersReflectionOnTheAdminSocketOnly) {
  Harness harness;
  // list_services = 7: ""
  const auto [status, bytes] =
      CallRaw(Dial(harness.path("admin.sock")), kReflection, {"\x3a\x00", 2});
  EXPECT_NE(bytes.find("modeld.v1.AdminService"), std::string::npos) << status.error_message();
  EXPECT_EQ(
      CallRaw(Dial(harness.path("modeld.sock")), kReflection, {"\x3a\x00", 2}).first.error_code(),
      grpc::StatusCode::UNIMPLEMENTED);
}

TEST(Server, StopsWithStreamsOpenWhenTheGraceIsOver) {
  Harness harness;
  Worker worker(harness);
  const auto lease = worker.Acquire("model-1");
  ASSERT_TRUE(lease->ReadGranted());
  grpc::ClientContext context;
  const auto watch = worker.stub()->WatchEvents(&context, {});
  watch->WaitForInitialMetadata();

  const auto before = std::chrono::steady_clock::now();
  harness.server().Shutdown(std::chrono::milliseconds(100));
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_GE(took, std::chrono::milliseconds(100));
  EXPECT_FALSE(lease->Finish().ok());
  v1::WatchEventsResponse response;
  while (watch->Read(&response)) {
  }
  EXPECT_FALSE(watch->Finish().ok());
  EXPECT_EQ(harness.lease_count(), 0u);
  EXPECT_FALSE(worker.attach.Receive());
  EXPECT_FALSE(wire::ConnectUnix(harness.path("modeld.sock")).ok());
}

TEST(Server, StopsAsSoonAsTheLastHolderLetsGo) {
  Harness harness;
  Worker worker(harness);
  auto lease = worker.Acquire("model-1");
  ASSERT_TRUE(lease->ReadGranted());
  std::thread holder([&] {
    // Told to let go, as a worker would be.
    const auto update = lease->Read();
    EXPECT_TRUE(update && update->has_drain_requested());
    lease.reset();
  });
  harness.manager().BeginShutdown();
  const auto before = std::chrono::steady_clock::now();
  harness.server().Shutdown(10 * kPatience);
  EXPECT_LT(std::chrono::steady_clock::now() - before, kPatience);
  holder.join();
}

TEST(Server, SurvivesGarbageOnItsGrpcSockets) {
  Harness harness;
  for (const std::string& garbage :
       {std::string(100'000, 'x'), std::string("PRI * HTTP/2.0\r\n"),
        std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string(1000, '\xff')}) {
    const wire::UniqueFd fd = wire::ConnectUnix(harness.path("modeld.sock")).value();
    // It may hang up before it has been told everything.
    [[maybe_unused]] const ssize_t sent =
        ::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  Worker worker(harness);
  EXPECT_TRUE(worker.Acquire("model-1")->ReadGranted());
}

}  // namespace
}  // namespace modeld::rpc
