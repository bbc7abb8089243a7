#include "rpc/admin_service.h"

#include <memory>
#include <string>
#include <utility>

#include "residency/spec_check.h"
#include "rpc/convert.h"
#include "rpc/load_reactor.h"
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
                        v1::Residency& answer = *response->mutable_residency();
                        if (residency->id.empty()) {  // a pin of what is not resident
                          answer.set_reference(residency->references.front());
                          answer.set_device(residency->device);
                        } else {
                          Fill(*residency, answer);
                        }
                        call->Finish(grpc::Status::OK);
                      }
                    });
  return call.get();
}

// Answers with the whole of a streaming call: that of the request, or why it is none.
template <class Call, class Request>
grpc::ServerWriteReactor<typename Call::Update>* Load(const ServiceDeps& deps, OpenCalls& loads,
                                                      absl::StatusOr<Request> checked) {
  auto stream = std::make_shared<LoadReactor<Call>>(deps.manager, loads);
  auto* const reactor = LoadReactor<Call>::Start(stream);
  if (checked.ok()) {
    LoadReactor<Call>::Ask(stream, *std::move(checked));
  } else {
    stream->End(checked.status());
  }
  return reactor;
}

}  // namespace

grpc::ServerWriteReactor<v1::PreloadUpdate>* AdminService::Preload(
    grpc::CallbackServerContext* context, const v1::PreloadRequest* request) {
  return Load<PreloadCall>(deps_, loads_, ToPreloadRequest(*request, deps_.clock.Now()));
}

grpc::ServerWriteReactor<v1::SetAliasUpdate>* AdminService::SetAlias(
    grpc::CallbackServerContext* context, const v1::SetAliasRequest* request) {
  return Load<SetAliasCall>(deps_, loads_, ToSetAliasRequest(*request, deps_.clock.Now()));
}

grpc::ServerUnaryReactor* AdminService::RemoveAlias(grpc::CallbackServerContext* context,
                                                    const v1::RemoveAliasRequest* request,
                                                    v1::RemoveAliasResponse* response) {
  const auto call = UnaryCall::Start();
  if (const absl::Status status = residency::CheckAliasName(request->name(), "name");
      !status.ok()) {
    call->Refuse(status);
    return call.get();
  }
  deps_.manager.RemoveAlias(request->name(),
                            [call, response](const absl::StatusOr<residency::Alias>& alias) {
                              if (!alias.ok()) {
                                call->Refuse(alias.status());
                              } else if (call->Claim()) {
                                Fill(*alias, *response->mutable_alias());
                                call->Finish(grpc::Status::OK);
                              }
                            });
  return call.get();
}

grpc::ServerUnaryReactor* AdminService::Evict(grpc::CallbackServerContext* context,
                                              const v1::EvictRequest* request,
                                              v1::EvictResponse* response) {
  const auto call = UnaryCall::Start();
  auto checked = ToEvictRequest(*request, deps_.clock.Now());
  if (!checked.ok()) {
    call->Refuse(checked.status());
    return call.get();
  }
  deps_.manager.Evict(*std::move(checked),
                      [call, response](const absl::StatusOr<residency::EvictResult>& result) {
                        if (!result.ok()) {
                          call->Refuse(result.status());
                        } else if (call->Claim()) {
                          Fill(*result, *response);
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
