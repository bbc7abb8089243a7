// What a request may say, and how it becomes a request to the manager.

#pragma once

#include <google/protobuf/duration.pb.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "modeld/v1/admin_service.pb.h"
#include "modeld/v1/residency_service.pb.h"
#include "residency/manager.h"
#include "rpc/session_registry.h"

namespace modeld::rpc {

// All refuse with kFieldInvalid, naming the field, and a device that this build cannot have with
// kDeviceUnavailable.
absl::StatusOr<residency::AcquireRequest> ToAcquireRequest(const v1::AcquireRequest& request,
                                                           const Session& session,
                                                           base::TimePoint now);
absl::StatusOr<residency::PreloadRequest> ToPreloadRequest(const v1::PreloadRequest& request,
                                                           base::TimePoint now);
absl::StatusOr<residency::SetAliasRequest> ToSetAliasRequest(const v1::SetAliasRequest& request,
                                                             base::TimePoint now);
absl::StatusOr<residency::EvictRequest> ToEvictRequest(const v1::EvictRequest& request,
                                                       base::TimePoint now);
absl::Status CheckSelector(const std::string& selector);

}  // namespace modeld::rpc
