// An Acquire call: the lease is held as long as this stream is open.

#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "modeld/v1/residency_service.pb.h"
#include "residency/manager.h"
#include "rpc/open_calls.h"
#include "rpc/slot_stream.h"

namespace modeld::rpc {

// Between the manager, which tells it things on its strand, and gRPC, which writes them when the
// client reads. When the client goes, in whatever way, the ticket is released, once.
class AcquireReactor final : public SlotStream<v1::AcquireUpdate, 6>,
                             public residency::AcquireObserver {
 public:
  // Both outlive the call.
  AcquireReactor(residency::Manager& manager, OpenCalls& calls)
      : manager_(manager), calls_(calls) {}

  // From the service's method, after Start.
  static void Acquire(const std::shared_ptr<AcquireReactor>& reactor,
                      residency::AcquireRequest request);

 private:
  enum Slot { kProgress, kGranted, kDigestKnown, kSuperseded, kDrainRequested, kLost };

  void OnProgress(const residency::Progress& progress) override;
  void OnGranted(const residency::Grant& grant) override;
  void OnDigestKnown(const std::string& digest) override;
  void OnDrainRequested(const std::string& message, bool stopping) override;
  void OnSuperseded(const std::string& alias, const std::string& reference) override;
  void OnLost(const absl::Status& why) override;
  void OnEnded(const absl::Status& status) override;

  void OnOver() override;

  residency::Manager& manager_;
  OpenCalls& calls_;
  // Verified: of the session. Set before the ticket.
  pid_t holder_ = 0;
  // 0: nothing was asked of the manager.
  std::atomic<residency::Ticket> ticket_{0};
};

}  // namespace modeld::rpc
