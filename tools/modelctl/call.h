// Calls to the daemon, with a deadline and Ctrl-C.

#pragma once

#include <google/protobuf/util/time_util.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <functional>
#include <memory>
#include <optional>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "modelctl/environment.h"
#include "modeld/v1/admin_service.grpc.pb.h"
#include "modeld/v1/residency_service.grpc.pb.h"

namespace modeld::modelctl {

// The socket that serves it.
template <class Service>
constexpr Environment::Socket SocketOf() {
  return std::is_same_v<Service, v1::AdminService> ? Environment::Socket::kAdmin
                                                   : Environment::Socket::kModeld;
}

// Sets the deadline of a call that should be answered at once: --timeout, else kAnswerTimeout.
inline void SetAnswerDeadline(const Environment& environment, grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(
                           environment.options().timeout.value_or(kAnswerTimeout)));
}

// Bounds a call that waits for something: by --timeout, which the request shall name too, so that
// modeld ends the wait in its own words; gRPC's deadline comes later, for a daemon that hangs, and
// not for one that is busy. nullopt: as long as it takes.
inline std::optional<google::protobuf::Duration> SetWaitDeadline(const Environment& environment,
                                                                 grpc::ClientContext& context) {
  constexpr std::chrono::seconds kGrace{2};
  const auto timeout = environment.options().timeout;
  if (!timeout) return std::nullopt;
  context.set_deadline(
      std::chrono::system_clock::now() +
      std::chrono::duration_cast<std::chrono::system_clock::duration>(*timeout + kGrace));
  return google::protobuf::util::TimeUtil::NanosecondsToDuration(timeout->count());
}

// One unary call in a context of the caller's.
template <class Service, class Request, class Reply>
absl::StatusOr<Reply> Call(Environment& environment, grpc::ClientContext& context,
                           grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Reply*),
                           const std::type_identity_t<Request>& request) {
  const auto channel = environment.Connect(SocketOf<Service>());
  if (!channel.ok()) return channel.status();
  const auto stub = Service::NewStub(*channel);
  const Interrupt::Guard guard(environment.interrupt(), context);
  Reply reply;
  const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
  if (!status.ok()) return environment.Explain(status);
  return reply;
}

// One that is answered at once: Call<v1::ResidencyService>(environment,
// &v1::ResidencyService::Stub::GetServerInfo, request).
template <class Service, class Request, class Reply>
absl::StatusOr<Reply> Call(Environment& environment,
                           grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Reply*),
                           const std::type_identity_t<Request>& request) {
  grpc::ClientContext context;
  SetAnswerDeadline(environment, context);
  return Call<Service>(environment, context, method, request);
}

// Reads a stream to its end. `each` may fail: then the call is cancelled and that is the result.
template <class Message>
absl::Status ReadAll(Environment& environment, grpc::ClientContext& context,
                     grpc::ClientReader<Message>& reader,
                     const std::function<absl::Status(const Message&)>& each) {
  absl::Status failed;
  Message message;
  while (failed.ok() && reader.Read(&message)) failed = each(message);
  if (!failed.ok()) context.TryCancel();
  const grpc::Status status = reader.Finish();
  return failed.ok() ? environment.Explain(status) : failed;
}

}  // namespace modeld::modelctl
