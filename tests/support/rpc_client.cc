#include "support/rpc_client.h"

#include <grpcpp/generic/generic_stub.h>

#include <chrono>

namespace modeld::test {
namespace {

constexpr std::chrono::seconds kCallLimit(75);

std::unique_ptr<grpc::ClientContext> Context() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + kCallLimit);
  return context;
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& socket_path) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("unix:" + socket_path, grpc::InsecureChannelCredentials(),
                                   arguments);
}

template <class Response>
absl::StatusOr<Response> Answer(const grpc::Status& status, Response response) {
  if (!status.ok()) return FromGrpc(status);
  return response;
}

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return wire::StatusFromParts(static_cast<int>(status.error_code()), status.error_message(),
                               status.error_details());
}

RpcClient::RpcClient(const std::string& socket_path)
    : channel_(MakeChannel(socket_path)),
      residency_(v1::ResidencyService::NewStub(channel_)),
      admin_(v1::AdminService::NewStub(channel_)) {}

absl::StatusOr<v1::Residency> RpcClient::Preload(const std::string& reference, bool no_wait) {
  v1::ModelSpec spec;
  spec.set_reference(reference);
  return Preload(spec, no_wait);
}

absl::StatusOr<v1::Residency> RpcClient::Preload(const v1::ModelSpec& spec, bool no_wait) {
  v1::PreloadRequest request;
  *request.mutable_spec() = spec;
  request.set_no_wait(no_wait);
  return Preload(request);
}

absl::StatusOr<v1::Residency> RpcClient::Preload(const v1::PreloadRequest& request) {
  const auto context = Context();
  const auto reader = admin_->Preload(context.get(), request);
  v1::Residency residency;
  for (v1::PreloadUpdate update; reader->Read(&update);) {
    if (update.has_residency()) residency = update.residency();
  }
  return Answer(reader->Finish(), residency);
}

absl::StatusOr<std::vector<v1::Residency>> RpcClient::List(bool include_ended) {
  v1::ListResidenciesRequest request;
  request.set_include_ended(include_ended);
  v1::ListResidenciesResponse response;
  const grpc::Status status = residency_->ListResidencies(Context().get(), request, &response);
  return Answer(status, std::vector<v1::Residency>(response.residencies().begin(),
                                                   response.residencies().end()));
}

absl::StatusOr<v1::EvictResponse> RpcClient::Evict(const std::string& selector) {
  v1::EvictRequest request;
  request.set_selector(selector);
  return Evict(request);
}

absl::StatusOr<v1::EvictResponse> RpcClient::Evict(const v1::EvictRequest& request) {
  v1::EvictResponse response;
  const grpc::Status status = admin_->Evict(Context().get(), request, &response);
  return Answer(status, response);
}

absl::Status RpcClient::Pin(const std::string& selector) {
  v1::PinRequest request;
  request.set_selector(selector);
  v1::PinResponse response;
  return FromGrpc(admin_->Pin(Context().get(), request, &response));
}

absl::Status RpcClient::Unpin(const std::string& selector) {
  v1::UnpinRequest request;
  request.set_selector(selector);
  v1::UnpinResponse response;
  return FromGrpc(admin_->Unpin(Context().get(), request, &response));
}

absl::StatusOr<std::vector<v1::Pin>> RpcClient::Pins() {
  v1::ListPinsResponse response;
  const grpc::Status status = residency_->ListPins(Context().get(), {}, &response);
  return Answer(status, std::vector<v1::Pin>(response.pins().begin(), response.pins().end()));
}

absl::StatusOr<v1::SetAliasResult> RpcClient::SetAlias(const v1::SetAliasRequest& request) {
  const auto context = Context();
  const auto reader = admin_->SetAlias(context.get(), request);
  v1::SetAliasResult result;
  for (v1::SetAliasUpdate update; reader->Read(&update);) {
    if (update.has_result()) result = update.result();
  }
  return Answer(reader->Finish(), result);
}

absl::StatusOr<std::vector<v1::Alias>> RpcClient::Aliases() {
  v1::ListAliasesResponse response;
  const grpc::Status status = residency_->ListAliases(Context().get(), {}, &response);
  return Answer(status,
                std::vector<v1::Alias>(response.aliases().begin(), response.aliases().end()));
}

absl::StatusOr<v1::Device> RpcClient::Device(const std::string& id) {
  v1::ListDevicesResponse response;
  const grpc::Status status = residency_->ListDevices(Context().get(), {}, &response);
  if (!status.ok()) return FromGrpc(status);
  for (const v1::Device& device : response.devices()) {
    if (device.id() == id) return device;
  }
  return absl::NotFoundError("no device " + id);
}

absl::StatusOr<v1::GetServerInfoResponse> RpcClient::ServerInfo() {
  v1::GetServerInfoResponse response;
  const grpc::Status status = residency_->GetServerInfo(Context().get(), {}, &response);
  return Answer(status, response);
}

absl::StatusOr<std::vector<v1::Event>> RpcClient::Events(uint32_t history) {
  v1::WatchEventsRequest request;
  request.set_history(history);
  request.set_history_only(true);
  const auto context = Context();
  const auto reader = residency_->WatchEvents(context.get(), request);
  std::vector<v1::Event> events;
  for (v1::WatchEventsResponse response; reader->Read(&response);) {
    events.push_back(response.event());
  }
  return Answer(reader->Finish(), events);
}

bool RpcClient::IsServing() {
  // grpc.health.v1.HealthCheckResponse is one enum: field 1, SERVING = 1. Debian ships no
  // health.proto to include.
  grpc::GenericStub stub(channel_);
  grpc::CompletionQueue queue;
  const grpc::Slice empty;
  const grpc::ByteBuffer request(&empty, 1);
  grpc::ByteBuffer response;
  grpc::Status status;
  const auto context = Context();
  const auto call =
      stub.PrepareUnaryCall(context.get(), "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return false;
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!response.Dump(&slices).ok()) return false;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes == std::string("\x08\x01");
}

}  // namespace modeld::test
