#include "unit/modelctl/fake_daemon.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "modeld/v1/attach.pb.h"
#include "support/processes.h"
#include "wire/error.h"
#include "wire/framed_socket.h"
#include "wire/memfd.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"

namespace modeld::test {
namespace {

using namespace std::chrono_literals;

constexpr char kSessionId[] = "sixteen bytes...";

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      wire::SerializeDetail(status));
}

void WaitUntilCancelled(grpc::ServerContext* context) {
  EXPECT_TRUE(Eventually([&] { return context->IsCancelled(); }));
}

v1::Refused ToRefused(const absl::Status& status) {
  v1::Refused refused;
  refused.set_code(static_cast<int>(status.code()));
  refused.set_message(std::string(status.message()));
  refused.mutable_detail()->ParseFromString(wire::SerializeDetail(status));
  return refused;
}

}  // namespace

void FakeModel::SetDigests(std::vector<wire::Digest> tensors) {
  digests = std::move(tensors);
  std::string bytes(digests.size() * wire::kDigestBytes, '\0');
  std::memcpy(bytes.data(), digests.data(), bytes.size());
  digest_table = *wire::MakeSealedMemfd("digests", bytes);
}

FakeModel MakeFakeModel(const std::string& id, const std::string& reference) {
  constexpr uint64_t kSegmentBytes = 2 << 20;
  FakeModel model;
  model.segment_bytes.assign(kSegmentBytes, '\0');
  for (size_t i = 0; i < 128; ++i) model.segment_bytes[i] = static_cast<char>(i * 7 + 1);

  wire::TableBuilder builder;
  builder.AddRegion(kSegmentBytes);
  const auto add = [&](const char* name, wire::DType dtype, const std::vector<int64_t>& shape,
                       uint64_t offset, uint64_t size) {
    const auto strides = wire::ContiguousStrides(shape);
    builder.Add({.name = name,
                 .dtype = dtype,
                 .shape = shape,
                 .strides = strides,
                 .region = 0,
                 .offset = offset,
                 .size_bytes = size,
                 .alias = false});
  };
  add("b", wire::DType::kF32, {2, 3}, 0, 24);
  add("a", wire::DType::kF32, {4}, 64, 16);
  add("step", wire::DType::kI64, {}, 80, 8);
  wire::ReferenceTableBuilder reference_table;
  reference_table.AddMetadata("format", "pt");
  const std::string reference_bytes = reference_table.Build();
  model.reference_table = *wire::MakeSealedMemfd("reference", reference_bytes);
  model.reference_table_size_bytes = reference_bytes.size();
  const std::string table = builder.Build();
  model.table = *wire::MakeSealedMemfd("table", table);
  model.table_size_bytes = table.size();
  model.segment = *wire::MakeSealedMemfd("segment", model.segment_bytes);

  const auto view = wire::TableView::Validate(std::as_bytes(std::span(table)), {});
  const std::span<const std::byte> segments[] = {std::as_bytes(std::span(model.segment_bytes))};
  model.SetDigests(*wire::TensorDigests(*view, segments, [] { return true; }));
  model.weights_digest = wire::DigestText(wire::WeightsDigest(*view, model.digests));

  v1::Residency& r = model.residency;
  r.set_id(id);
  r.set_reference(reference);
  r.add_references(reference);
  r.set_device("host");
  r.set_state(v1::Residency::READY);
  r.set_size_bytes(kSegmentBytes);
  r.set_own_bytes(kSegmentBytes);
  r.set_tensor_bytes(48);
  r.set_tensor_count(3);
  r.set_digest(model.weights_digest);
  r.set_format("safetensors");
  r.set_generation(7);
  return model;
}

FakeDaemon::FakeDaemon() {
  progress.set_phase(v1::Progress::LOADING);
  progress.set_bytes_done(512 << 20);
  progress.set_bytes_total(1024 << 20);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + (dir_ / "modeld.sock"), grpc::InsecureServerCredentials());
  builder.RegisterService(static_cast<v1::ResidencyService::Service*>(this));
  server_ = builder.BuildAndStart();
  grpc::ServerBuilder admin_builder;
  admin_builder.AddListeningPort("unix:" + (dir_ / "admin.sock"),
                                 grpc::InsecureServerCredentials());
  admin_builder.RegisterService(static_cast<v1::AdminService::Service*>(this));
  admin_server_ = admin_builder.BuildAndStart();

  listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, (dir_ / "attach.sock").c_str(), sizeof(address.sun_path) - 1);
  EXPECT_EQ(bind(listener_.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)),
            0);
  EXPECT_EQ(listen(listener_.get(), 16), 0);
  attach_thread_ = std::thread([this] { ServeAttach(); });
}

FakeDaemon::~FakeDaemon() {
  shutdown(listener_.get(), SHUT_RDWR);
  attach_thread_.join();
  const auto now = std::chrono::system_clock::now();
  server_->Shutdown(now);
  admin_server_->Shutdown(now);
}

void FakeDaemon::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

const v1::Residency* FakeDaemon::Find(const std::string& selector) const {
  for (const v1::Residency& residency : residencies.residencies()) {
    if (residency.id().starts_with(selector) || residency.reference() == selector ||
        std::ranges::count(residency.aliases(), selector) > 0) {
      return &residency;
    }
  }
  return nullptr;
}

void FakeDaemon::ServeAttach() {
  while (true) {
    wire::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) return;
    // One at a time is enough: modelctl has one connection.
    ServeAttachConnection(std::move(fd));
  }
}

void FakeDaemon::ServeAttachConnection(wire::UniqueFd fd) {
  wire::FramedSocket socket(std::move(fd));
  v1::AttachServerMessage hello;
  if (!refuse_peers.ok()) {
    *hello.mutable_refused() = ToRefused(refuse_peers);
    (void)socket.Send(hello.SerializeAsString());
    return;
  }
  hello.mutable_welcome()->set_session_id(kSessionId);
  (void)socket.Send(hello.SerializeAsString());
  while (true) {
    const auto frame = socket.Receive();
    if (!frame.ok()) return;
    v1::AttachClientMessage request;
    EXPECT_TRUE(request.ParseFromString(frame->payload));
    std::vector<int> fds = {model->table.get(), model->reference_table.get(), model->segment.get()};
    v1::AttachServerMessage answer;
    v1::LeaseFds& lease_fds = *answer.mutable_lease_fds();
    lease_fds.set_request_id(request.get_lease_fds().request_id());
    if (request.get_lease_fds().want_digests()) {
      fds.push_back(model->digest_table.get());
      lease_fds.set_has_digests(true);
    }
    lease_fds.set_fd_count(static_cast<uint32_t>(fds.size()));
    (void)socket.Send(answer.SerializeAsString(), fds);
  }
}

grpc::Status FakeDaemon::Acquire(grpc::ServerContext* context, const v1::AcquireRequest* request,
                                 grpc::ServerWriter<v1::AcquireUpdate>* writer) {
  acquire_request = *request;
  if (!refuse.ok()) return ToGrpc(refuse);
  const auto session = context->client_metadata().find("modeld-session-bin");
  EXPECT_NE(session, context->client_metadata().end());
  if (session != context->client_metadata().end()) {
    EXPECT_EQ(std::string(session->second.data(), session->second.size()), kSessionId);
  }
  v1::AcquireUpdate update;
  v1::Granted& granted = *update.mutable_granted();
  granted.set_lease_id("41");
  granted.set_residency_id(model->residency.id());
  granted.set_generation(model->residency.generation());
  if (!digest_comes_late) granted.set_digest(model->weights_digest);
  granted.set_device(model->residency.device());
  granted.set_table_size_bytes(model->table_size_bytes);
  granted.set_reference_table_size_bytes(model->reference_table_size_bytes);
  granted.set_tensor_bytes(model->residency.tensor_bytes());
  v1::Segment& segment = *granted.add_segments();
  const bool host = model->residency.device() == "host";
  segment.set_kind(host ? v1::Segment::HOST_MEMFD : v1::Segment::CUDA_VMM);
  segment.set_size_bytes(model->segment_bytes.size());
  segment.set_chunk_bytes(model->segment_bytes.size());
  writer->Write(update);
  if (digest_comes_late) {
    update.mutable_superseded()->set_alias("prod");
    writer->Write(update);
    update.mutable_digest_known()->set_digest(model->weights_digest);
    writer->Write(update);
  }
  WaitUntilCancelled(context);
  ++leases_ended;
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::ListResidencies(grpc::ServerContext* context,
                                         const v1::ListResidenciesRequest* request,
                                         v1::ListResidenciesResponse* reply) {
  if (hangs) WaitUntilCancelled(context);
  if (!refuse.ok()) return ToGrpc(refuse);
  for (const v1::Residency& residency : residencies.residencies()) {
    const bool ended = residency.state() >= v1::Residency::EVICTED;
    if (!ended || request->include_ended()) *reply->add_residencies() = residency;
  }
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::GetResidency(grpc::ServerContext*, const v1::GetResidencyRequest* request,
                                      v1::GetResidencyResponse* reply) {
  const v1::Residency* const found = Find(request->selector());
  if (found == nullptr) {
    return ToGrpc(wire::MakeError(wire::Reason::kResidencyNotFound,
                                  "nothing resident is called \"" + request->selector() + "\"", {},
                                  "see what is resident: modelctl ps"));
  }
  *reply->mutable_residency() = *found;
  for (const v1::Lease& lease : leases.leases()) {
    if (lease.residency_id() == found->id()) *reply->add_leases() = lease;
  }
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::ListLeases(grpc::ServerContext*, const v1::ListLeasesRequest* request,
                                    v1::ListLeasesResponse* reply) {
  for (const v1::Lease& lease : leases.leases()) {
    if (lease.residency_id().starts_with(request->selector())) *reply->add_leases() = lease;
  }
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::ListDevices(grpc::ServerContext*, const v1::ListDevicesRequest*,
                                     v1::ListDevicesResponse* reply) {
  *reply = devices;
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::InspectCheckpoint(
    grpc::ServerContext*, const v1::InspectCheckpointRequest*,
    grpc::ServerWriter<v1::InspectCheckpointResponse>* writer) {
  if (!refuse.ok()) return ToGrpc(refuse);
  for (const v1::InspectCheckpointResponse& part : checkpoint) writer->Write(part);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::WatchEvents(grpc::ServerContext* context,
                                     const v1::WatchEventsRequest* request,
                                     grpc::ServerWriter<v1::WatchEventsResponse>* writer) {
  const size_t first = events.size() - std::min<size_t>(events.size(), request->history());
  for (size_t i = first; i < events.size(); ++i) {
    v1::WatchEventsResponse reply;
    *reply.mutable_event() = events[i];
    writer->Write(reply);
  }
  if (!request->history_only()) WaitUntilCancelled(context);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                                       v1::GetServerInfoResponse* reply) {
  *reply = info;
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Preload(grpc::ServerContext* context, const v1::PreloadRequest* request,
                                 grpc::ServerWriter<v1::PreloadUpdate>* writer) {
  preload_request = *request;
  if (!refuse.ok()) return ToGrpc(refuse);
  v1::PreloadUpdate update;
  *update.mutable_progress() = progress;
  writer->Write(update);
  if (const grpc::Status loaded = Load(context); !loaded.ok()) return loaded;
  *update.mutable_residency() = residencies.residencies(0);
  writer->Write(update);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Load(grpc::ServerContext* context) {
  ++loads_started;
  if (!load_hangs) return grpc::Status::OK;
  WaitUntilCancelled(context);
  ++loads_cancelled;
  return grpc::Status::CANCELLED;
}

grpc::Status FakeDaemon::SetAlias(grpc::ServerContext* context, const v1::SetAliasRequest* request,
                                  grpc::ServerWriter<v1::SetAliasUpdate>* writer) {
  alias_request = *request;
  if (!refuse.ok()) return ToGrpc(refuse);
  v1::SetAliasUpdate update;
  *update.mutable_progress() = progress;
  writer->Write(update);
  if (const grpc::Status loaded = Load(context); !loaded.ok()) return loaded;
  *update.mutable_result() = alias_result;
  writer->Write(update);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::ListAliases(grpc::ServerContext*, const v1::ListAliasesRequest*,
                                     v1::ListAliasesResponse* reply) {
  *reply = aliases;
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::ListPins(grpc::ServerContext*, const v1::ListPinsRequest*,
                                  v1::ListPinsResponse* reply) {
  *reply = pins;
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::RemoveAlias(grpc::ServerContext*, const v1::RemoveAliasRequest* request,
                                     v1::RemoveAliasResponse* reply) {
  for (const v1::Alias& alias : aliases.aliases()) {
    if (alias.name() == request->name()) *reply->mutable_alias() = alias;
  }
  if (reply->has_alias()) return grpc::Status::OK;
  return ToGrpc(wire::MakeError(wire::Reason::kAliasNotFound,
                                "there is no alias \"" + request->name() + "\"", {},
                                "see which there are: modelctl alias ls"));
}

grpc::Status FakeDaemon::ExplainResidency(grpc::ServerContext*,
                                          const v1::ExplainResidencyRequest* request,
                                          v1::ExplainResidencyResponse* reply) {
  explain_request = *request;
  if (!refuse.ok()) return ToGrpc(refuse);
  *reply = explanation;
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Evict(grpc::ServerContext* context, const v1::EvictRequest* request,
                               v1::EvictResponse* reply) {
  evict_request = *request;
  evict_has_deadline = context->deadline() < std::chrono::system_clock::now() + 24h;
  if (!refuse.ok()) return ToGrpc(refuse);
  const v1::Residency* const found = Find(request->selector());
  if (found == nullptr)
    return ToGrpc(
        wire::MakeError(wire::Reason::kResidencyNotFound, "nothing resident is called that"));
  if (found->pinned())
    return ToGrpc(wire::MakeError(wire::Reason::kResidencyPinned, found->id() + " is pinned"));
  if (request->dry_run()) {
    *reply = dry_run;
    return grpc::Status::OK;
  }
  if (request->drain()) ++drains_started;
  if (request->drain() && drain_hangs) {
    WaitUntilCancelled(context);
    return grpc::Status::CANCELLED;
  }
  *reply->mutable_residency() = *found;
  reply->set_freed_bytes(found->size_bytes());
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Pin(grpc::ServerContext*, const v1::PinRequest* request,
                             v1::PinResponse* reply) {
  if (!refuse.ok()) return ToGrpc(refuse);
  if (const v1::Residency* const found = Find(request->selector()))
    *reply->mutable_residency() = *found;
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Unpin(grpc::ServerContext*, const v1::UnpinRequest* request,
                               v1::UnpinResponse* reply) {
  if (!refuse.ok()) return ToGrpc(refuse);
  if (const v1::Residency* const found = Find(request->selector()))
    *reply->mutable_residency() = *found;
  return grpc::Status::OK;
}

}  // namespace modeld::test
