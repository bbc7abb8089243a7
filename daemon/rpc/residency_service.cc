#include "rpc/residency_service.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "residency/spec_check.h"
#include "rpc/acquire_reactor.h"
#include "rpc/inspect_reactor.h"
#include "rpc/listings.h"
#include "rpc/protocol.h"
#include "rpc/unary_call.h"
#include "rpc/validate.h"
#include "rpc/watch_reactor.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::rpc {
namespace {

// Queued and running; each has a table and open files.
constexpr size_t kMaxInspections = 64;
// Each has a page of events, and every event wakes all of them.
constexpr size_t kMaxWatches = 256;

absl::Status TooMany(std::string_view what, size_t limit) {
  return absl::ResourceExhaustedError(
      wire::StrCat("there are ", limit, " ", what, " calls already; try again when one has ended"));
}

// A stream that only says no.
template <class Message>
class RefusingReactor final : public ServerStream<Message> {
 private:
  bool Next(Message&) override { return false; }
};

template <class Message>
grpc::ServerWriteReactor<Message>* RefuseStream(const absl::Status& why) {
  auto stream = std::make_shared<RefusingReactor<Message>>();
  auto* const reactor = ServerStream<Message>::Start(stream);
  stream->End(why);
  return reactor;
}

}  // namespace

ResidencyService::ResidencyService(const ServiceDeps& deps, OpenCalls& leases)
    : deps_(deps),
      leases_(leases),
      inspections_(std::make_shared<OpenCalls>(kMaxInspections)),
      watches_(kMaxWatches) {}

absl::StatusOr<residency::AcquireRequest> ResidencyService::Check(
    const grpc::CallbackServerContext& context, const v1::AcquireRequest& request) const {
  const auto& metadata = context.client_metadata();
  const auto entry = metadata.find(kSessionMetadataKey);
  const std::shared_ptr<const Session> session =
      entry == metadata.end()
          ? nullptr
          : deps_.sessions.Find(std::string_view(entry->second.data(), entry->second.size()));
  if (!session) {
    return wire::MakeError(
        wire::Reason::kSessionInvalid,
        entry == metadata.end()
            ? absl::StrCat("the call carries no session (metadata ", kSessionMetadataKey, ")")
            : "the session that the call carries is unknown or has ended",
        {}, "connect to attach.sock first and keep that connection open");
  }
  return ToAcquireRequest(request, *session, deps_.clock.Now());
}

grpc::ServerWriteReactor<v1::AcquireUpdate>* ResidencyService::Acquire(
    grpc::CallbackServerContext* context, const v1::AcquireRequest* request) {
  absl::StatusOr<residency::AcquireRequest> checked = Check(*context, *request);
  if (!checked.ok()) return RefuseStream<v1::AcquireUpdate>(checked.status());
  auto stream = std::make_shared<AcquireReactor>(deps_.manager, leases_);
  auto* const reactor = AcquireReactor::Start(stream);
  AcquireReactor::Acquire(stream, *std::move(checked));
  return reactor;
}

grpc::ServerUnaryReactor* ResidencyService::ListResidencies(
    grpc::CallbackServerContext* context, const v1::ListResidenciesRequest* request,
    v1::ListResidenciesResponse* response) {
  const auto call = UnaryCall::Start();
  List(deps_, *request, response, call);
  return call.get();
}

grpc::ServerUnaryReactor* ResidencyService::GetResidency(grpc::CallbackServerContext* context,
                                                         const v1::GetResidencyRequest* request,
                                                         v1::GetResidencyResponse* response) {
  const auto call = UnaryCall::Start();
  Get(deps_, *request, response, call);
  return call.get();
}

grpc::ServerUnaryReactor* ResidencyService::ListLeases(grpc::CallbackServerContext* context,
                                                       const v1::ListLeasesRequest* request,
                                                       v1::ListLeasesResponse* response) {
  const auto call = UnaryCall::Start();
  List(deps_, *request, response, call);
  return call.get();
}

grpc::ServerUnaryReactor* ResidencyService::ListAliases(grpc::CallbackServerContext* context,
                                                        const v1::ListAliasesRequest* request,
                                                        v1::ListAliasesResponse* response) {
  const auto call = UnaryCall::Start();
  List(deps_, *request, response, call);
  return call.get();
}

grpc::ServerUnaryReactor* ResidencyService::ListPins(grpc::CallbackServerContext* context,
                                                     const v1::ListPinsRequest* request,
                                                     v1::ListPinsResponse* response) {
  const auto call = UnaryCall::Start();
  List(deps_, *request, response, call);
  return call.get();
}

grpc::ServerUnaryReactor* ResidencyService::ExplainResidency(
    grpc::CallbackServerContext* context, const v1::ExplainResidencyRequest* request,
    v1::ExplainResidencyResponse* response) {
  const auto call = UnaryCall::Start();
  Explain(deps_, *request, response, call);
  return call.get();
}

grpc::ServerUnaryReactor* ResidencyService::ListDevices(grpc::CallbackServerContext* context,
                                                        const v1::ListDevicesRequest* request,
                                                        v1::ListDevicesResponse* response) {
  const auto call = UnaryCall::Start();
  List(deps_, *request, response, call);
  return call.get();
}

grpc::ServerWriteReactor<v1::InspectCheckpointResponse>* ResidencyService::InspectCheckpoint(
    grpc::CallbackServerContext* context, const v1::InspectCheckpointRequest* request) {
  absl::Status status = residency::CheckReference(request->reference(), "reference");
  if (status.ok() && !inspections_->Enter()) {
    status = TooMany("InspectCheckpoint", inspections_->limit());
  }
  if (!status.ok()) return RefuseStream<v1::InspectCheckpointResponse>(status);
  auto stream = std::make_shared<InspectReactor>(inspections_);
  auto* const reactor = InspectReactor::Start(stream);
  InspectReactor::Inspect(stream, request->reference(), deps_.inspect, deps_.executor);
  return reactor;
}

grpc::ServerWriteReactor<v1::WatchEventsResponse>* ResidencyService::WatchEvents(
    grpc::CallbackServerContext* context, const v1::WatchEventsRequest* request) {
  if (!watches_.Enter()) {
    return RefuseStream<v1::WatchEventsResponse>(TooMany("WatchEvents", watches_.limit()));
  }
  auto stream = std::make_shared<WatchReactor>(deps_.manager.events(), watches_);
  auto* const reactor = WatchReactor::Start(stream);
  stream->Watch(*request);
  return reactor;
}

grpc::ServerUnaryReactor* ResidencyService::GetServerInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetServerInfoRequest* request,
                                                          v1::GetServerInfoResponse* response) {
  const auto call = UnaryCall::Start();
  Get(deps_, *request, response, call);
  return call.get();
}

}  // namespace modeld::rpc
