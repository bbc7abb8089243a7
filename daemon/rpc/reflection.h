// Which gRPC servers answer reflection.

#pragma once

#include <grpcpp/impl/server_builder_option.h>

#include <memory>

namespace modeld::rpc {

// libgrpc++_reflection adds itself to every server of a process that links it; this leaves it on
// the one server that shall have it, and off the others.
std::unique_ptr<grpc::ServerBuilderOption> ReflectionOption(bool enabled);

}  // namespace modeld::rpc
