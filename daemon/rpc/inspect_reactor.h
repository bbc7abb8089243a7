// An InspectCheckpoint call: a source table, a thousand tensors at a time.

#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "base/executor.h"
#include "modeld/v1/residency_service.pb.h"
#include "rpc/inspect.h"
#include "rpc/open_calls.h"
#include "rpc/server_stream.h"

namespace modeld::rpc {

// Reads the table in place as the client reads the stream: a checkpoint with a million tensors
// costs its table and one message.
class InspectReactor final : public ServerStream<v1::InspectCheckpointResponse> {
 public:
  // REQUIRES: `calls` was entered for this call. It is left when the client is gone and nothing is
  // queued or running for it any more, so calls that are made and dropped are bounded too.
  explicit InspectReactor(std::shared_ptr<OpenCalls> calls) : calls_(std::move(calls)) {}
  ~InspectReactor() override { calls_->Leave(); }

  // From the service's method, after Start. `inspect` runs on `executor`, unless the client is gone
  // by then.
  static void Inspect(const std::shared_ptr<InspectReactor>& reactor, std::string reference,
                      const InspectFunction& inspect, base::Executor& executor);

 private:
  bool Next(v1::InspectCheckpointResponse& message) override;
  void OnOver() override { over_ = true; }

  const std::shared_ptr<OpenCalls> calls_;
  std::atomic<bool> over_{false};
  // Set before the first Next that is not about a client that is gone.
  InspectResult result_;
  bool checkpoint_sent_ = false;
  size_t tensors_sent_ = 0;
};

}  // namespace modeld::rpc
