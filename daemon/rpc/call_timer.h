// How long unary calls take, told to whoever counts them.

#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <functional>
#include <memory>
#include <string_view>

#include "base/clock.h"

namespace modeld::rpc {

// `/modeld.v1.ResidencyService/GetServerInfo`, `OK`, and the time from the call's arrival to its
// status. Called from gRPC's threads: must not block.
using CallObserver =
    std::function<void(std::string_view method, std::string_view code, base::Duration took)>;

// For ServerBuilder::experimental().SetInterceptorCreators. Streams are not timed: how long they
// last is their client's wish. `clock` outlives the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallTimer(
    CallObserver observer, const base::Clock& clock);

}  // namespace modeld::rpc
