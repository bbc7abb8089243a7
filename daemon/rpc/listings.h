// The read calls: what is there now.

#pragma once

#include <memory>

#include "modeld/v1/residency_service.pb.h"
#include "rpc/service_deps.h"
#include "rpc/unary_call.h"

namespace modeld::rpc {

using UnaryCallPtr = std::shared_ptr<UnaryCall>;

// Each fills `response` and finishes `call`, at once or from the manager's strand.
void List(const ServiceDeps& deps, const v1::ListResidenciesRequest& request,
          v1::ListResidenciesResponse* response, const UnaryCallPtr& call);
void List(const ServiceDeps& deps, const v1::ListLeasesRequest& request,
          v1::ListLeasesResponse* response, const UnaryCallPtr& call);
void List(const ServiceDeps& deps, const v1::ListDevicesRequest& request,
          v1::ListDevicesResponse* response, const UnaryCallPtr& call);
void List(const ServiceDeps& deps, const v1::ListAliasesRequest& request,
          v1::ListAliasesResponse* response, const UnaryCallPtr& call);
void List(const ServiceDeps& deps, const v1::ListPinsRequest& request,
          v1::ListPinsResponse* response, const UnaryCallPtr& call);
void Explain(const ServiceDeps& deps, const v1::ExplainResidencyRequest& request,
             v1::ExplainResidencyResponse* response, const UnaryCallPtr& call);
void Get(const ServiceDeps& deps, const v1::GetResidencyRequest& request,
         v1::GetResidencyResponse* response, const UnaryCallPtr& call);
void Get(const ServiceDeps& deps, const v1::GetServerInfoRequest& request,
         v1::GetServerInfoResponse* response, const UnaryCallPtr& call);

}  // namespace modeld::rpc
