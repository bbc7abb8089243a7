// Models on a GPU, with a fake plugin: what is asked for, what is believed, what is undone.

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "fake_plugin.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modeld/client.h"
#include "modeld/cuda.h"
#include "scripted_daemon.h"
#include "support/thrown_error.h"

namespace modeld {
namespace {

using std::chrono::seconds;
using test::ThrownBy;
using testing::Call;
using testing::Checkpoint;
using testing::FakePlugin;
using testing::GetFakePlugin;
using ::testing::HasSubstr;
using testing::kGpuA;
using testing::kGpuB;
using testing::ScriptedDaemon;

class Gpu : public ::testing::Test {
 protected:
  Gpu() {
    fake_.current = 0;
    fake_.failing_after = -1;
    fake_.failure = "BUDGET_EXCEEDED";
    fake_.mapped = 0;
    fake_.unmapped = 0;
    daemon_.checkpoint = Checkpoint::MakeOnGpu(kGpuA);
  }

  std::shared_ptr<const Model> Acquire(const std::string& device, const std::string& peer = {}) {
    return client_->Acquire({.reference = "/m", .device = device, .peer = peer},
                            {.timeout = seconds(20)});
  }
  Error AcquireError(const std::string& device, const std::string& peer = {}) {
    return ThrownBy([&] { Acquire(device, peer); });
  }
  void GrantWith(std::function<void(v1::Granted&)> change) {
    daemon_.on_acquire = [this, change](Call& call) {
      v1::Granted granted = daemon_.checkpoint->Grant(call.lease_id());
      change(granted);
      call.Grant(granted);
    };
  }
  void ExpectViolation(const std::string& what) {
    const Error error = AcquireError("cuda:0");
    EXPECT_EQ(error.reason(), "PROTOCOL_VIOLATION");
    EXPECT_THAT(error.what(), HasSubstr(what));
    EXPECT_TRUE(daemon_.WaitForOpenCalls(0)) << "the lease is given back";
    EXPECT_EQ(fake_.mapped, fake_.unmapped);
  }

  FakePlugin& fake_ = GetFakePlugin();
  ScriptedDaemon daemon_;
  const std::shared_ptr<Client> client_ = Client::Connect(daemon_.socket_path());
};

TEST_F(Gpu, MapsEveryChunkInItsPlace) {
  const auto model = Acquire("cuda:0");
  EXPECT_EQ(daemon_.requests().at(0).spec().device(), kGpuA) << "ordinals stay in the process";
  EXPECT_EQ(model->device(), kGpuA);
  EXPECT_EQ(cuda::Ordinal(*model), 0);
  EXPECT_EQ(fake_.last_ordinal, 0);
  EXPECT_EQ(fake_.last_peer, -1);
  for (const uint64_t i : {0, 1, 2}) {
    const TensorView w = model->at("w." + std::to_string(i));
    unsigned char bytes[24];
    ASSERT_EQ(w.size_bytes, sizeof(bytes));
    cuda::CopyToHost(*model, w, bytes);
    for (size_t k = 0; k < sizeof(bytes); ++k) EXPECT_EQ(bytes[k], (i * (2 << 20) + k) % 251);
  }
}

TEST_F(Gpu, OpensAnIpcHandle) {
  const auto host = Checkpoint::Make();
  daemon_.checkpoint->table_fd = wire::UniqueFd(dup(host->table_fd.get()));
  daemon_.checkpoint->segments.clear();
  GrantWith([&](v1::Granted& granted) {
    granted.set_table_size_bytes(host->table.size());
    std::string handle = "/proc/self/fd/" + std::to_string(host->segments[0].get());
    handle.resize(64, '\0');
    v1::Segment& segment = *granted.mutable_segments(0);
    segment.set_kind(v1::Segment::CUDA_IPC);
    segment.set_size_bytes(host->segment_sizes[0]);
    segment.set_ipc_handle(handle);
  });
  const auto model = Acquire("cuda");
  unsigned char bytes[24];
  cuda::CopyToHost(*model, model->at("w.1"), bytes);
  EXPECT_EQ(bytes[5], (64 + 5) % 251);
}

TEST_F(Gpu, EqualDevicesSpelledDifferentlyAreOneModel) {
  const auto model = Acquire("cuda:0");
  EXPECT_EQ(Acquire("cuda"), model);
  EXPECT_EQ(Acquire(kGpuA), model);
  EXPECT_EQ(Acquire("GPU-AAAA"), model);
  EXPECT_EQ(Acquire("cuda:0", "cuda:0"), model) << "a GPU is no peer of itself";
  EXPECT_EQ(daemon_.calls_begun(), 1);
}

TEST_F(Gpu, CudaIsTheCurrentDeviceOfTheCaller) {
  daemon_.checkpoint = Checkpoint::MakeOnGpu(kGpuB);
  fake_.current = 1;
  const auto model = Acquire("cuda");
  EXPECT_EQ(model->device(), kGpuB);
  EXPECT_EQ(fake_.last_ordinal, 1);
  EXPECT_EQ(cuda::DeviceUuid(1), kGpuB);
}

TEST_F(Gpu, WhatIsNoDeviceOfThisProcessIsRefusedBeforeAnythingIsSent) {
  for (const std::string device : {"gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA:0", "GPU-xyz"}) {
    const Error error = AcquireError(device);
    EXPECT_EQ(error.reason(), "FIELD_INVALID") << device;
    EXPECT_THAT(error.what(), HasSubstr("say host, cuda:N")) << device;
  }
  EXPECT_THAT(AcquireError("GPU-aa").what(), HasSubstr("several GPUs begin with GPU-aa"));
  const Error ordinal = AcquireError("cuda:7");
  EXPECT_EQ(ordinal.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(ordinal.reason(), "DEVICE_UNAVAILABLE");
  EXPECT_THAT(ordinal.what(), HasSubstr(std::string("no cuda:7, but: cuda:0 (") + kGpuA));
  EXPECT_THAT(AcquireError("GPU-ff").what(), HasSubstr("no GPU GPU-ff is visible to this process"));
  EXPECT_EQ(ThrownBy([] { cuda::DeviceUuid(-1); }).reason(), "DEVICE_UNAVAILABLE");
  EXPECT_EQ(daemon_.calls_begun(), 0);
}

TEST_F(Gpu, TheHostIsToldApart) {
  daemon_.checkpoint = Checkpoint::Make();
  const auto model = client_->Acquire({.reference = "/m", .keep_host = true});
  EXPECT_EQ(model->device(), "host");
  EXPECT_EQ(cuda::Ordinal(*model), std::nullopt);
  EXPECT_FALSE(daemon_.requests().at(0).spec().keep_host()) << "it says nothing of the host itself";
  const TensorView w = model->at("w.1");
  unsigned char bytes[24];
  cuda::CopyToHost(*model, w, bytes);
  EXPECT_EQ(std::memcmp(bytes, w.data, sizeof(bytes)), 0);
}

TEST_F(Gpu, KeepHostIsSent) {
  const auto model = client_->Acquire({.reference = "/m", .device = "cuda:0", .keep_host = true});
  EXPECT_TRUE(daemon_.requests().at(0).spec().keep_host());
}

TEST_F(Gpu, APeerIsMappedForToo) {
  const auto model = Acquire("cuda:0", "cuda:1");
  EXPECT_EQ(fake_.last_ordinal, 0);
  EXPECT_EQ(fake_.last_peer, 1);
  EXPECT_EQ(model->device(), kGpuA);
  EXPECT_EQ(AcquireError("host", "cuda:1").reason(), "FIELD_INVALID");
  EXPECT_EQ(AcquireError("cuda:0", "host").reason(), "FIELD_INVALID");
}

TEST_F(Gpu, IsUnmappedBeforeTheLeaseIsGivenBack) {
  std::atomic<int> unmapped_at_end{-1};
  daemon_.on_ended = [&](const Call&) { unmapped_at_end = fake_.unmapped.load(); };
  auto model = Acquire("cuda:0");
  EXPECT_EQ(fake_.unmapped, 0);
  model.reset();
  ASSERT_TRUE(daemon_.WaitForOpenCalls(0));
  EXPECT_EQ(unmapped_at_end, 1);
}

TEST_F(Gpu, LeavesNoDescriptorOpen) {
  const auto count = [] {
    int open = 0;
    for (int fd = 0; fd < 1024; ++fd) open += fcntl(fd, F_GETFD) != -1;
    return open;
  };
  const auto first = Acquire("cuda:0");
  const int before = count();
  const auto second = client_->Acquire({.reference = "/second", .device = "cuda:0"});
  EXPECT_EQ(count(), before);
}

TEST_F(Gpu, AFailureOfThePluginPassesThroughAndEndsTheLease) {
  for (const auto& [reason, code] : {std::pair("BUDGET_EXCEEDED", ErrorCode::kResourceExhausted),
                                     std::pair("DEVICE_LOST", ErrorCode::kUnavailable)}) {
    fake_.failing_after = 0;
    fake_.failure = reason;
    const Error error = AcquireError("cuda:0");
    EXPECT_EQ(error.code(), code);
    EXPECT_EQ(error.reason(), reason);
    EXPECT_STREQ(error.what(), "the fake GPU says no; do something else");
    EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
  }
}

TEST_F(Gpu, ASegmentThatFailsUndoesThoseBeforeIt) {
  GrantWith([](v1::Granted& granted) {
    v1::Segment chunk = granted.segments(0);
    chunk.set_size_bytes(2 << 20);
    granted.mutable_segments(0)->set_size_bytes(4 << 20);
    *granted.add_segments() = chunk;
  });
  wire::TableBuilder builder;
  builder.AddRegion(4 << 20);
  builder.AddRegion(2 << 20);
  daemon_.checkpoint->table = builder.Build();
  daemon_.checkpoint->table_fd = *wire::MakeSealedMemfd("table", daemon_.checkpoint->table);
  fake_.failing_after = 1;
  EXPECT_EQ(AcquireError("cuda:0").reason(), "BUDGET_EXCEEDED");
  EXPECT_EQ(fake_.mapped, 1);
  EXPECT_EQ(fake_.unmapped, 1);
}

// ---- what a daemon must not do ----

TEST_F(Gpu, AnotherDeviceThanAskedForIsAViolation) {
  daemon_.checkpoint = Checkpoint::MakeOnGpu(kGpuB);
  ExpectViolation(std::string("a lease on ") + kGpuB + " where " + kGpuA);
}

TEST_F(Gpu, AHostSegmentOnAGpuIsAViolation) {
  GrantWith(
      [](v1::Granted& granted) { granted.mutable_segments(0)->set_kind(v1::Segment::HOST_MEMFD); });
  ExpectViolation("a segment of kind memfd on GPU-");
}

TEST_F(Gpu, AGpuSegmentOnTheHostIsAViolation) {
  GrantWith([](v1::Granted& granted) { granted.set_device("host"); });
  const Error error = AcquireError("host");
  EXPECT_EQ(error.reason(), "PROTOCOL_VIOLATION");
  EXPECT_THAT(error.what(), HasSubstr("a segment of kind vmm on host"));
}

TEST_F(Gpu, ChunksThatMakeNoSenseAreAViolation) {
  for (const uint64_t chunk_bytes : {0, 4096, 3 << 20}) {
    GrantWith(
        [&](v1::Granted& granted) { granted.mutable_segments(0)->set_chunk_bytes(chunk_bytes); });
    ExpectViolation("a segment that makes no sense");
  }
}

TEST_F(Gpu, AHandleThatIsTooShortIsAViolation) {
  GrantWith([](v1::Granted& granted) {
    granted.mutable_segments(0)->set_kind(v1::Segment::CUDA_IPC);
    granted.mutable_segments(0)->set_ipc_handle(std::string(63, 'h'));
  });
  ExpectViolation("an IPC handle of 63 bytes");
}

TEST_F(Gpu, TooFewChunksAreAViolation) {
  GrantWith([](v1::Granted& granted) { granted.mutable_segments(0)->set_size_bytes(8 << 20); });
  ExpectViolation("a lease of 5 descriptors came with 4");
}

TEST_F(Gpu, ATableThatReachesBeyondItsSegmentIsAViolation) {
  GrantWith([](v1::Granted& granted) { granted.mutable_segments(0)->set_size_bytes(4 << 20); });
  daemon_.checkpoint->segments.pop_back();
  ExpectViolation("");
}

}  // namespace
}  // namespace modeld
