#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "harness.h"
#include "wire/tensor_table.h"

namespace modeld::rpc {
namespace {

using wire::Reason;

class ServicesTest : public ::testing::Test {
 protected:
  explicit ServicesTest(const Harness::Options& options = {})
      : harness_(options),
        worker_(harness_),
        read_(worker_.stub()),
        admin_channel_(Dial(harness_.path("admin.sock"))),
        admin_(v1::AdminService::NewStub(admin_channel_)) {}

  // Waits until it is READY; its residency id.
  std::string Load(const std::string& reference) {
    grpc::ClientContext context;
    v1::PreloadRequest request;
    request.mutable_spec()->set_reference(reference);
    const auto stream = admin_->Preload(&context, request);
    v1::PreloadUpdate update;
    while (stream->Read(&update)) {
    }
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_EQ(update.residency().state(), v1::Residency::READY);
    return update.residency().id();
  }

  grpc::Status Get(const std::string& selector, v1::GetResidencyResponse* response) {
    grpc::ClientContext context;
    v1::GetResidencyRequest request;
    request.set_selector(selector);
    return read_->GetResidency(&context, request, response);
  }

  grpc::Status Evict(const std::string& selector, v1::EvictResponse* response) {
    grpc::ClientContext context;
    v1::EvictRequest request;
    request.set_selector(selector);
    return admin_->Evict(&context, request, response);
  }

  Harness harness_;
  Worker worker_;
  std::unique_ptr<v1::ResidencyService::Stub> read_;
  std::shared_ptr<grpc::Channel> admin_channel_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

TEST_F(ServicesTest, ListWhatIsResidentAndWhoHoldsIt) {
  const std::string id = Load("model-2");
  const auto lease = worker_.Acquire("model-2");
  ASSERT_TRUE(lease->ReadGranted());

  grpc::ClientContext list;
  v1::ListResidenciesResponse residencies;
  ASSERT_TRUE(read_->ListResidencies(&list, {}, &residencies).ok());
  ASSERT_EQ(residencies.residencies_size(), 1);
  EXPECT_EQ(residencies.residencies(0).id(), id);
  EXPECT_EQ(residencies.residencies(0).reference(), "model-2");
  EXPECT_EQ(residencies.residencies(0).lease_count(), 1u);
  EXPECT_EQ(residencies.residencies(0).size_bytes(), 4u << 20);

  v1::GetResidencyResponse one;
  ASSERT_TRUE(Get(id.substr(0, 6), &one).ok());
  ASSERT_EQ(one.leases_size(), 1);
  EXPECT_EQ(one.leases(0).pid(), ::getpid());
  EXPECT_EQ(one.leases(0).uid(), ::getuid());
}

TEST_F(ServicesTest, ListTheLeasesOfOneResidencyOrOfAll) {
  const auto first = worker_.Acquire("model-1");
  const auto second = worker_.Acquire("model-2");
  ASSERT_TRUE(first->ReadGranted());
  ASSERT_TRUE(second->ReadGranted());
  const auto count = [&](const std::string& selector) {
    grpc::ClientContext context;
    v1::ListLeasesRequest request;
    request.set_selector(selector);
    v1::ListLeasesResponse response;
    EXPECT_TRUE(read_->ListLeases(&context, request, &response).ok());
    return response.leases_size();
  };
  EXPECT_EQ(count(""), 2);
  EXPECT_EQ(count("model-2"), 1);
}

TEST_F(ServicesTest, SayWhatASelectorDoesNotFit) {
  v1::GetResidencyResponse response;
  EXPECT_EQ(ReasonOf(Get("", &response)), Reason::kFieldInvalid);
  EXPECT_EQ(Get("model-77", &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, DescribeTheDeviceTheParserAndTheServer) {
  grpc::ClientContext devices_context;
  v1::ListDevicesResponse devices;
  ASSERT_TRUE(read_->ListDevices(&devices_context, {}, &devices).ok());
  ASSERT_EQ(devices.devices_size(), 1);
  EXPECT_EQ(devices.devices(0).kind(), v1::Device::HOST);
  EXPECT_EQ(devices.devices(0).export_(), "memfd");
  EXPECT_TRUE(devices.parser_sandbox().seccomp());
  ASSERT_EQ(devices.gpu_notes_size(), 1);
  EXPECT_EQ(devices.gpu_notes(0), "there is no driver");

  grpc::ClientContext info_context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(read_->GetServerInfo(&info_context, {}, &info).ok());
  EXPECT_EQ(info.version(), "1.2.3");
  EXPECT_EQ(info.protocol_version(), 1u);
  EXPECT_EQ(info.pid(), ::getpid());
  EXPECT_EQ(info.session_count(), 1u);
  EXPECT_EQ(info.runtime_dir(), harness_.directory());
  EXPECT_EQ(info.roots(0), "/models");
  EXPECT_GT(info.open_fds(), 10u);
  EXPECT_GT(info.fd_limit(), info.open_fds());
}

TEST_F(ServicesTest, AnswerReadCallsOnTheAdminSocketToo) {
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  EXPECT_TRUE(
      v1::ResidencyService::NewStub(admin_channel_)->GetServerInfo(&context, {}, &info).ok());
}

TEST_F(ServicesTest, KeepOperatorsVerbsOffThePublicSocket) {
  grpc::ClientContext context;
  v1::EvictRequest request;
  request.set_selector("model-1");
  v1::EvictResponse response;
  EXPECT_EQ(
      v1::AdminService::NewStub(worker_.channel)->Evict(&context, request, &response).error_code(),
      grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServicesTest, EvictWhatNobodyHoldsAndRefuseWhatSomebodyDoes) {
  Load("model-2");
  v1::EvictResponse response;
  {
    const auto lease = worker_.Acquire("model-2");
    ASSERT_TRUE(lease->ReadGranted());
    EXPECT_EQ(ReasonOf(Evict("model-2", &response)), Reason::kResidencyLeased);
  }
  ASSERT_TRUE(Eventually([&] { return harness_.lease_count() == 0; }));
  const grpc::Status status = Evict("model-2", &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.freed_bytes(), 4u << 20);
  EXPECT_EQ(response.residency().reference(), "model-2");
}

TEST_F(ServicesTest, PinAndUnpin) {
  Load("model-1");
  grpc::ClientContext pin_context;
  v1::PinRequest pin;
  pin.set_selector("model-1");
  v1::PinResponse pinned;
  ASSERT_TRUE(admin_->Pin(&pin_context, pin, &pinned).ok());
  EXPECT_TRUE(pinned.residency().pinned());
  v1::EvictResponse response;
  EXPECT_EQ(ReasonOf(Evict("model-1", &response)), Reason::kResidencyPinned);

  grpc::ClientContext unpin_context;
  v1::UnpinRequest unpin;
  unpin.set_selector("model-1");
  v1::UnpinResponse unpinned;
  ASSERT_TRUE(admin_->Unpin(&unpin_context, unpin, &unpinned).ok());
  EXPECT_FALSE(unpinned.residency().pinned());
  EXPECT_TRUE(Evict("model-1", &response).ok());
}

TEST_F(ServicesTest, LetGoOfACallThatItsClientGivesUpBeforeTheAnswer) {
  harness_.backend().HoldReleases();
  Load("model-1");
  grpc::ClientContext context;
  v1::EvictRequest request;
  request.set_selector("model-1");
  v1::EvictResponse response;
  auto evicting =
      std::async(std::launch::async, [&] { return admin_->Evict(&context, request, &response); });
  ASSERT_TRUE(Eventually(
      [&] { return harness_.Snapshot().residencies[0].state == residency::State::kDraining; }));
  context.TryCancel();
  EXPECT_EQ(evicting.get().error_code(), grpc::StatusCode::CANCELLED);
  // The answer comes after all, to nobody; and no call keeps the server from stopping.
  harness_.manager().OnReleased(harness_.Snapshot().residencies[0].id, 0);
  harness_.server().Shutdown(kPatience);
}

class HeldLoadsTest : public ServicesTest {
 protected:
  HeldLoadsTest() : ServicesTest({.hold_loads = true}) {}
};

TEST_F(HeldLoadsTest, PreloadEndsTheLoadWhenItsCallIsCancelled) {
  grpc::ClientContext context;
  v1::PreloadRequest request;
  request.mutable_spec()->set_reference("model-1");
  const auto stream = admin_->Preload(&context, request);
  harness_.backend().WaitForLoad();
  context.TryCancel();
  v1::PreloadUpdate update;
  while (stream->Read(&update)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(
      Eventually([&] { return residency::IsEnded(harness_.Snapshot().residencies.at(0).state); }));
}

TEST_F(HeldLoadsTest, PreloadNeedNotWait) {
  grpc::ClientContext context;
  v1::PreloadRequest request;
  request.mutable_spec()->set_reference("model-1");
  request.set_no_wait(true);
  const auto stream = admin_->Preload(&context, request);
  v1::PreloadUpdate update;
  while (stream->Read(&update)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(update.has_residency());
  harness_.backend().FinishLoad(harness_.backend().WaitForLoad());
  EXPECT_TRUE(Eventually(
      [&] { return harness_.Snapshot().residencies.at(0).state == residency::State::kReady; }));
}

TEST_F(ServicesTest, WatchTellsTheHistoryThenWhatHappens) {
  Load("model-1");
  grpc::ClientContext context;
  v1::WatchEventsRequest request;
  request.set_history(100);
  const auto stream = read_->WatchEvents(&context, request);
  v1::WatchEventsResponse response;
  uint64_t last = 0;
  const auto read_until = [&](v1::Event::Type type) {
    while (stream->Read(&response)) {
      EXPECT_EQ(response.event().sequence(), last + 1);
      last = response.event().sequence();
      if (response.event().type() == type) return true;
    }
    return false;
  };
  EXPECT_TRUE(read_until(v1::Event::RESIDENCY_READY));
  const auto lease = worker_.Acquire("model-1");
  EXPECT_TRUE(read_until(v1::Event::LEASE_GRANTED));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServicesTest, WatchEndsAfterTheHistoryIfThatIsAllThatWasAskedFor) {
  constexpr int kEvents = 1000;  // several pages
  for (int i = 0; i < kEvents; ++i) harness_.manager().events().Publish({});
  grpc::ClientContext context;
  v1::WatchEventsRequest request;
  request.set_history(kEvents - 100);
  request.set_history_only(true);
  const auto stream = read_->WatchEvents(&context, request);
  v1::WatchEventsResponse response;
  int count = 0;
  while (stream->Read(&response)) ++count;
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(count, kEvents - 100);
}

TEST_F(ServicesTest, WatchDropsAClientThatFallsTooFarBehind) {
  residency::EventLog& events = harness_.manager().events();
  grpc::ClientContext context;
  const auto stream = read_->WatchEvents(&context, {});
  stream->WaitForInitialMetadata();
  residency::Event event;
  event.message = std::string(1000, 'm');
  for (size_t i = 0; i < 2 * residency::EventLog::kHistory; ++i) events.Publish(event);
  v1::WatchEventsResponse response;
  size_t count = 0;
  while (stream->Read(&response)) ++count;
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_LT(count, residency::EventLog::kHistory);
}

TEST_F(ServicesTest, WatchEndsWhenTheDaemonStops) {
  grpc::ClientContext context;
  v1::WatchEventsRequest request;
  request.set_history(1);
  harness_.manager().events().Publish({});
  const auto stream = read_->WatchEvents(&context, request);
  v1::WatchEventsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  harness_.manager().BeginShutdown();
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(response.event().type(), v1::Event::DAEMON_STOPPING);
  EXPECT_EQ(ReasonOf(stream->Finish()), Reason::kDraining);
}

constexpr int kTensors = 2500;

absl::StatusOr<InspectResult> Inspect(const std::string& reference) {
  if (reference != "good") {
    return wire::MakeError(Reason::kCheckpointMalformed, "bad header", {{"file", reference}});
  }
  wire::TableBuilder builder;
  builder.AddRegion(10 * kTensors);
  const int64_t shape[] = {4};
  const int64_t strides[] = {1};
  for (int i = 0; i < kTensors; ++i) {
    // File order is the opposite of the order of names.
    builder.Add({.name = absl::StrCat("t", 10'000 - i),
                 .dtype = wire::DType::kI8,
                 .shape = shape,
                 .strides = strides,
                 .region = 0,
                 .offset = static_cast<uint64_t>(4 * i),
                 .size_bytes = 4});
  }
  wire::ReferenceTableBuilder reference_table;
  reference_table.AddMetadata("format", "pt");
  reference_table.AddFile("config.json", "{}");
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = reference;
  plan::OpenFile file;
  file.path = "/models/good \xff";
  file.identity.size_bytes = 123;
  checkpoint->files.push_back(std::move(file));
  auto table = plan::SealedTable::Make(builder.Build(), {});
  if (!table.ok()) return table.status();
  return InspectResult{checkpoint, "safetensors", *table,
                       plan::SealedReferenceTable::Make(reference_table.Build()).value(), 2 << 20};
}

class InspectTest : public ServicesTest {
 protected:
  InspectTest() : ServicesTest({.inspect = Inspect}) {}
};

TEST_F(InspectTest, StreamsTheTensorsInFileOrderAThousandAMessage) {
  grpc::ClientContext context;
  v1::InspectCheckpointRequest request;
  request.set_reference("good");
  const auto stream = read_->InspectCheckpoint(&context, request);
  v1::InspectCheckpointResponse message, whole;
  int messages = 0;
  while (stream->Read(&message)) {
    EXPECT_EQ(message.has_checkpoint(), messages == 0);
    EXPECT_LE(message.tensors_size(), 1000);
    whole.MergeFrom(message);
    ++messages;
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(messages, 4);
  EXPECT_EQ(whole.checkpoint().tensor_count(), kTensors);
  EXPECT_EQ(whole.checkpoint().file_bytes(), 123u);
  EXPECT_EQ(whole.checkpoint().metadata().at("format"), "pt");
  ASSERT_EQ(whole.tensors_size(), kTensors);
  for (int i = 0; i < kTensors; ++i) {
    ASSERT_EQ(whole.tensors(i).file_offset(), static_cast<uint64_t>(4 * i));
    ASSERT_EQ(whole.tensors(i).name(), absl::StrCat("t", 10'000 - i));
  }
  EXPECT_EQ(whole.tensors(0).dtype(), "I8");
}

TEST_F(InspectTest, SaysWhatIsWrongWithACheckpoint) {
  for (const auto& [reference, reason] :
       {std::pair("bad", Reason::kCheckpointMalformed), std::pair("", Reason::kFieldInvalid)}) {
    grpc::ClientContext context;
    v1::InspectCheckpointRequest request;
    request.set_reference(reference);
    const auto stream = read_->InspectCheckpoint(&context, request);
    v1::InspectCheckpointResponse message;
    EXPECT_FALSE(stream->Read(&message));
    EXPECT_EQ(ReasonOf(stream->Finish()), reason);
  }
}

TEST(Inspect, BoundsCallsThatAreMadeAndDropped) {
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  std::atomic<int> begun{0};
  Harness harness({.inspect = [&](const std::string&) -> absl::StatusOr<InspectResult> {
    ++begun;
    gone.wait();
    return absl::NotFoundError("nothing");
  }});
  const auto stub = v1::ResidencyService::NewStub(Dial(harness.path("modeld.sock")));
  v1::InspectCheckpointRequest request;
  request.set_reference("slow");
  // Each client goes away at once; what was begun for the first one hangs.
  int refused = 0;
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
    const auto stream = stub->InspectCheckpoint(&context, request);
    v1::InspectCheckpointResponse message;
    stream->Read(&message);
    if (stream->Finish().error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++refused;
  }
  EXPECT_GT(refused, 0);
  go.set_value();
  // Those that nobody waits for any more are not even begun.
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    const auto stream = stub->InspectCheckpoint(&context, request);
    v1::InspectCheckpointResponse message;
    stream->Read(&message);
    return stream->Finish().error_code() == grpc::StatusCode::NOT_FOUND;
  }));
  EXPECT_LE(begun, 3);
}

}  // namespace
}  // namespace modeld::rpc
