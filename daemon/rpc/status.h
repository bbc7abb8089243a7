// The one place where errors of the domain become errors of gRPC.

#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace modeld::rpc {

// Same code; the serialized modeld.v1.ErrorDetail as error details. Both travel in trailing
// metadata, of which a gRPC client takes 8 KiB by default: long messages and values lose their
// middle.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace modeld::rpc
