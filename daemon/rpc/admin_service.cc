#include "rpc/admin_service.h"

#include <memory>
#include <string>
#include <utility>

#include "rpc/convert.h"
#include "rpc/preload_reactor.h"
#include "rpc/unary_call.h"
#include "rpc/validate.h"

namespace modeld::rpc {
namespace {

template <class Response>
grpc::ServerUnaryReactor* SetPinned(residency::Manager& manager, const std::string& selector,
                                    bool pinned, Response* response) {
  const auto call = UnaryCall::Start();
  if (const absl::Status status = CheckSelector(selector); !status.ok()) {
    call->Refuse(status);
    return call.get();
  }
  manager.SetPinned(selector, pinned,
                    [call, response](const absl::StatusOr<residency::ResidencyInfo>& residency) {
                      if (!residency.ok()) {
                        call->Refuse(residency.status());
                      } else if (call->Claim()) {
                        Fill(*residency, *response->mutable_residency());
                        call->Finish(grpc::Status::OK);
                      }
                    });
  return call.get();
}

}  // namespace

grpc::ServerWriteReactor<v1::PreloadUpdate>* AdminService::Preload(
    grpc::CallbackServerContext* context, const v1::PreloadRequest* request) {
  auto stream = std::make_shared<PreloadReactor>(deps_.manager, preloads_);
  auto* const reactor = PreloadReactor::Start(stream);
  absl::StatusOr<residency::PreloadRequest> checked = ToPreloadRequest(*request, deps_.clock.Now());
  if (checked.ok()) {
    PreloadReactor::Preload(stream, *std::move(checked));
  } else {
    stream->End(checked.status());
  }
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::Evict(grpc::CallbackServerContext* context,
                                              const v1::EvictRequest* request,
                                              v1::EvictResponse* response) {
  const auto call = UnaryCall::Start();
  if (const absl::Status status = CheckSelector(request->selector()); !status.ok()) {
    call->Refuse(status);
    return call.get();
  }
  deps_.manager.Evict(request->selector(),
                      [call, response](const absl::StatusOr<residency::EvictResult>& result) {
                        if (!result.ok()) {
                          call->Refuse(result.status());
                        } else if (call->Claim()) {
                          Fill(result->residency, *response->mutable_residency());
                          response->set_freed_bytes(result->freed_bytes);
                          call->Finish(grpc::Status::OK);
                        }
                      });
  return call.get();
}

grpc::ServerUnaryReactor* AdminService::Pin(grpc::CallbackServerContext* context,
                                            const v1::PinRequest* request,
                                            v1::PinResponse* response) {
  return SetPinned(deps_.manager, request->selector(), true, response);
}

grpc::ServerUnaryReactor* AdminService::Unpin(grpc::CallbackServerContext* context,
                                              const v1::UnpinRequest* request,
                                              v1::UnpinResponse* response) {
  return SetPinned(deps_.manager, request->selector(), false, response);
}

}  // namespace modeld::rpc
