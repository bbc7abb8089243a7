#include "harness.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <future>
#include <iostream>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "rpc/protocol.h"
#include "wire/memfd.h"
#include "wire/tensor_table.h"

namespace modeld::rpc {
namespace {

constexpr uint64_t kSegmentBytes = wire::kSegmentUnitBytes;
constexpr uint64_t kCapacityBytes = 4096 * kSegmentBytes;

template <class T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::cerr << value.status() << "\n";
    std::abort();
  }
  return *std::move(value);
}

std::shared_ptr<const plan::LoadPlan> MakePlan(uint32_t segment_count) {
  wire::TableBuilder builder;
  auto plan = std::make_shared<plan::LoadPlan>();
  plan->format = "safetensors";
  for (uint32_t i = 0; i < segment_count; ++i) {
    builder.AddRegion(kSegmentBytes);
    const int64_t shape[] = {kSegmentBytes};
    const int64_t strides[] = {1};
    builder.Add({.name = absl::StrCat("tensor.", i),
                 .dtype = wire::DType::kU8,
                 .shape = shape,
                 .strides = strides,
                 .region = i,
                 .offset = 0,
                 .size_bytes = kSegmentBytes});
    plan->segment_sizes.push_back(kSegmentBytes);
  }
  plan->table = OrDie(plan::SealedTable::Make(builder.Build(), {}));
  // No two checkpoints have anything in common.
  plan::Sample sample;
  sample.fill(static_cast<std::byte>(segment_count));
  plan->fingerprint =
      plan::FingerprintOf(plan->table->view(), std::vector<plan::Sample>(segment_count, sample));
  return plan;
}

wire::UniqueFd MakeSegment() {
  wire::UniqueFd fd(::memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ::ftruncate(fd.get(), kSegmentBytes) != 0 || !wire::SealMemfd(fd.get()).ok()) {
    std::cerr << "cannot make a segment\n";
    std::abort();
  }
  return fd;
}

}  // namespace

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> FakeCatalog::Resolve(
    const std::string& reference, const plan::LoadConfig&) {
  absl::string_view rest = reference;
  uint32_t segments = 0;
  if (!absl::ConsumePrefix(&rest, "model-") || !absl::SimpleAtoi(rest, &segments)) {
    return wire::MakeError(wire::Reason::kCheckpointNotFound, absl::StrCat("no ", reference));
  }
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = reference;
  plan::OpenFile file;
  file.path = reference;
  file.identity.inode = segments;
  checkpoint->files.push_back(std::move(file));
  return checkpoint;
}

absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> FakeCatalog::Plan(
    const plan::OpenCheckpoint& checkpoint, const std::string& device) {
  return MakePlan(static_cast<uint32_t>(checkpoint.files.front().identity.inode));
}

void FakeBackend::Load(residency::LoadJob job) {
  const std::string id = job.record.id;
  {
    wire::MutexLock lock(mutex_);
    loads_.emplace(id, std::move(job));
    changed_.NotifyAll();
  }
  if (!hold_loads_) FinishLoad(id);
}

void FakeBackend::CancelLoad(const std::string& residency_id) {
  {
    wire::MutexLock lock(mutex_);
    if (loads_.erase(residency_id) == 0) return;
  }
  manager_->OnLoadFailed(residency_id, absl::CancelledError("cancelled"));
}

void FakeBackend::Release(const std::string& residency_id) {
  if (!hold_releases_) manager_->OnReleased(residency_id, 0);
}

std::string FakeBackend::WaitForLoad() {
  wire::MutexLock lock(mutex_);
  while (loads_.empty()) changed_.Wait(mutex_);
  return loads_.begin()->first;
}

void FakeBackend::FinishLoad(const std::string& residency_id) {
  auto memory = std::make_shared<residency::ResidentMemory>();
  {
    wire::MutexLock lock(mutex_);
    const auto node = loads_.extract(residency_id);
    if (node.empty()) return;
    memory->table = node.mapped().plan->table;
    for (const uint64_t size_bytes : node.mapped().plan->segment_sizes) {
      auto segment = std::make_shared<residency::LoadedSegment>();
      segment->id = absl::StrCat(residency_id, "/", memory->segments.size());
      segment->fds.push_back(MakeSegment());
      segment->info.size_bytes = size_bytes;
      segment->info.page_size_bytes = 4096;
      memory->segments.push_back(std::move(segment));
    }
  }
  manager_->OnLoaded(residency_id, std::move(memory), {"buffered", 1});
}

Harness::Harness(const Options& options)
    : backend_(options.hold_loads),
      manager_({&catalog_, &executor_, &executor_, &base::SystemClock(), timer_.get()}),
      inspect_(options.inspect) {
  backend_.Connect(&manager_);
  manager_.AddDevice("host", kCapacityBytes, &backend_);
  manager_.OnAgentUp("host", {.pid = 7, .export_kind = "memfd", .page_size_bytes = 4096});
  options_.runtime_dir = directory_.path();
  options_.peers = options.peers;
  options_.version = "1.2.3";
  options_.roots = {"/models"};
  options_.max_sessions = options.max_sessions;
  options_.max_connections = options.max_connections;
  server_ = OrDie(Server::Start(options_, server_deps()));
}

Harness::~Harness() {
  server_.reset();
  executor_.Stop();
  timer_.reset();  // a task of the manager's may be running
}

ServerDeps Harness::server_deps() {
  v1::ParserSandbox sandbox;
  sandbox.set_seccomp(true);
  return {.manager = manager_,
          .executor = executor_,
          .inspect = inspect_,
          .sandbox = [sandbox] { return sandbox; },
          .gpu_notes = {"there is no driver"},
          .clock = base::SystemClock()};
}

residency::Snapshot Harness::Snapshot() {
  std::promise<residency::Snapshot> promise;
  residency::SnapshotParts parts = residency::SnapshotParts::All();
  parts.ended = true;
  manager_.GetSnapshot(
      parts, [&promise](residency::Snapshot snapshot) { promise.set_value(std::move(snapshot)); });
  return promise.get_future().get();
}

std::shared_ptr<grpc::Channel> Dial(const std::string& path) {
  wire::UniqueFd fd = OrDie(wire::ConnectUnix(path));
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  grpc::ChannelArguments arguments;
  // Or the client takes in megabytes that nobody reads, and nothing is learnt about the server.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomInsecureChannelFromFd("modeld", fd.release(), arguments);
}

wire::Reason ReasonOf(const grpc::Status& status) {
  return wire::GetReason(
      wire::StatusFromParts(status.error_code(), status.error_message(), status.error_details()));
}

AttachClient::AttachClient(const Harness& harness)
    : socket_(OrDie(wire::ConnectUnix(harness.path("attach.sock")))) {
  const std::optional<v1::AttachServerMessage> message = Receive();
  if (message && message->has_welcome()) welcome_ = message->welcome();
}

std::optional<v1::AttachServerMessage> AttachClient::Receive(std::vector<wire::UniqueFd>* fds) {
  absl::StatusOr<wire::Frame> frame = socket_.Receive();
  v1::AttachServerMessage message;
  if (!frame.ok() || !message.ParseFromString(frame->payload)) return std::nullopt;
  if (fds != nullptr) std::move(frame->fds.begin(), frame->fds.end(), std::back_inserter(*fds));
  return message;
}

AttachClient::Answer AttachClient::GetLeaseFds(const std::string& lease_id, bool want_digests) {
  v1::AttachClientMessage request;
  request.mutable_get_lease_fds()->set_request_id(42);
  request.mutable_get_lease_fds()->set_lease_id(lease_id);
  request.mutable_get_lease_fds()->set_want_digests(want_digests);
  Answer answer;
  if (!socket_.Send(request.SerializeAsString()).ok()) return answer;
  do {
    const std::optional<v1::AttachServerMessage> message = Receive(&answer.fds);
    if (!message) return Answer();
    answer.last = message->lease_fds();
    ++answer.frames;
  } while (answer.last.more());
  return answer;
}

Lease::Lease(grpc::Channel& channel, const std::string& session_id,
             const v1::AcquireRequest& request) {
  if (!session_id.empty()) context_.AddMetadata(kSessionMetadataKey, session_id);
  // The stub need not outlive the call.
  reader_ = v1::ResidencyService::NewStub(
                std::shared_ptr<grpc::ChannelInterface>(std::shared_ptr<void>(), &channel))
                ->Acquire(&context_, request);
}

Lease::~Lease() {
  Cancel();
  Finish();
}

std::optional<v1::AcquireUpdate> Lease::Read() {
  v1::AcquireUpdate update;
  if (!reader_->Read(&update)) return std::nullopt;
  return update;
}

std::optional<v1::Granted> Lease::ReadGranted() {
  while (std::optional<v1::AcquireUpdate> update = Read()) {
    if (update->has_granted()) return update->granted();
    if (!update->has_progress()) return std::nullopt;
  }
  return std::nullopt;
}

grpc::Status Lease::Finish() {
  if (std::exchange(finished_, true)) return grpc::Status::OK;
  while (Read()) {
  }
  return reader_->Finish();
}

v1::AcquireRequest RequestFor(const std::string& reference) {
  v1::AcquireRequest request;
  request.mutable_spec()->set_reference(reference);
  request.set_scope("world/stage/pipeline/graph/node");
  return request;
}

}  // namespace modeld::rpc
