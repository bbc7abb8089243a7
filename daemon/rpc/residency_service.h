// modeld.v1.ResidencyService: what workers and observers call.

#pragma once

#include <memory>

#include "modeld/v1/residency_service.grpc.pb.h"
#include "rpc/open_calls.h"
#include "rpc/service_deps.h"

namespace modeld::rpc {

// Never blocks a thread of gRPC. One instance per server; it outlives the server.
class ResidencyService final : public v1::ResidencyService::CallbackService {
 public:
  // `leases` counts the Acquire calls; both outlive the service.
  ResidencyService(const ServiceDeps& deps, OpenCalls& leases);

  grpc::ServerWriteReactor<v1::AcquireUpdate>* Acquire(grpc::CallbackServerContext* context,
                                                       const v1::AcquireRequest* request) override;
  grpc::ServerUnaryReactor* ListResidencies(grpc::CallbackServerContext* context,
                                            const v1::ListResidenciesRequest* request,
                                            v1::ListResidenciesResponse* response) override;
  grpc::ServerUnaryReactor* GetResidency(grpc::CallbackServerContext* context,
                                         const v1::GetResidencyRequest* request,
                                         v1::GetResidencyResponse* response) override;
  grpc::ServerUnaryReactor* ListLeases(grpc::CallbackServerContext* context,
                                       const v1::ListLeasesRequest* request,
                                       v1::ListLeasesResponse* response) override;
  grpc::ServerUnaryReactor* ListAliases(grpc::CallbackServerContext* context,
                                        const v1::ListAliasesRequest* request,
                                        v1::ListAliasesResponse* response) override;
  grpc::ServerUnaryReactor* ListPins(grpc::CallbackServerContext* context,
                                     const v1::ListPinsRequest* request,
                                     v1::ListPinsResponse* response) override;
  grpc::ServerUnaryReactor* ExplainResidency(grpc::CallbackServerContext* context,
                                             const v1::ExplainResidencyRequest* request,
                                             v1::ExplainResidencyResponse* response) override;
  grpc::ServerUnaryReactor* ListDevices(grpc::CallbackServerContext* context,
                                        const v1::ListDevicesRequest* request,
                                        v1::ListDevicesResponse* response) override;
  grpc::ServerWriteReactor<v1::InspectCheckpointResponse>* InspectCheckpoint(
      grpc::CallbackServerContext* context, const v1::InspectCheckpointRequest* request) override;
  grpc::ServerWriteReactor<v1::WatchEventsResponse>* WatchEvents(
      grpc::CallbackServerContext* context, const v1::WatchEventsRequest* request) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;

 private:
  absl::StatusOr<residency::AcquireRequest> Check(const grpc::CallbackServerContext& context,
                                                  const v1::AcquireRequest& request) const;

  const ServiceDeps& deps_;
  OpenCalls& leases_;
  const std::shared_ptr<OpenCalls> inspections_;
  OpenCalls watches_;
};

}  // namespace modeld::rpc
