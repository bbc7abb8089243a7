// A unary call that is answered later, or given up by its client.

#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "rpc/status.h"

namespace modeld::rpc {

// Whoever answers asks Claim first: the response may be touched only by the one who was told yes,
// until he calls Finish. A client that goes away ends the call without waiting for an answer,
// however long that takes.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // gRPC holds the call until it is over; the service's method returns `.get()`.
  static std::shared_ptr<UnaryCall> Start() {
    std::shared_ptr<UnaryCall> call(new UnaryCall);
    call->self_ = call;
    return call;
  }

  // True once.
  [[nodiscard]] bool Claim() { return !claimed_.exchange(true); }

  // Answers with an error, if nobody has answered yet.
  void Refuse(const absl::Status& why) {
    if (Claim()) Finish(ToGrpcStatus(why));
  }

 private:
  UnaryCall() = default;

  void OnCancel() override {
    if (Claim()) Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { const std::shared_ptr<UnaryCall> self = std::move(self_); }

  std::atomic<bool> claimed_{false};
  std::shared_ptr<UnaryCall> self_;
};

}  // namespace modeld::rpc
