// modeld.v1.AdminService: what operators call.

#pragma once

#include "modeld/v1/admin_service.grpc.pb.h"
#include "rpc/open_calls.h"
#include "rpc/service_deps.h"

namespace modeld::rpc {

// Never blocks a thread of gRPC. It outlives the server.
class AdminService final : public v1::AdminService::CallbackService {
 public:
  // `loads` counts the Preload and SetAlias calls; both outlive the service.
  AdminService(const ServiceDeps& deps, OpenCalls& loads) : deps_(deps), loads_(loads) {}

  grpc::ServerWriteReactor<v1::PreloadUpdate>* Preload(grpc::CallbackServerContext* context,
                                                       const v1::PreloadRequest* request) override;
  grpc::ServerUnaryReactor* Evict(grpc::CallbackServerContext* context,
                                  const v1::EvictRequest* request,
                                  v1::EvictResponse* response) override;
  grpc::ServerUnaryReactor* Pin(grpc::CallbackServerContext* context, const v1::PinRequest* request,
                                v1::PinResponse* response) override;
  grpc::ServerUnaryReactor* Unpin(grpc::CallbackServerContext* context,
                                  const v1::UnpinRequest* request,
                                  v1::UnpinResponse* response) override;
  grpc::ServerWriteReactor<v1::SetAliasUpdate>* SetAlias(
      grpc::CallbackServerContext* context, const v1::SetAliasRequest* request) override;
  grpc::ServerUnaryReactor* RemoveAlias(grpc::CallbackServerContext* context,
                                        const v1::RemoveAliasRequest* request,
                                        v1::RemoveAliasResponse* response) override;

 private:
  const ServiceDeps& deps_;
  OpenCalls& loads_;
};

}  // namespace modeld::rpc
