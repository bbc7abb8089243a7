// A Preload call: progress until the residency is READY.

#pragma once

#include <atomic>
#include <memory>

#include "absl/status/statusor.h"
#include "modeld/v1/admin_service.pb.h"
#include "residency/manager.h"
#include "rpc/open_calls.h"
#include "rpc/slot_stream.h"

namespace modeld::rpc {

// Cancelling the call cancels the load, unless somebody else waits for it.
class PreloadReactor final : public SlotStream<v1::PreloadUpdate, 2> {
 public:
  // Both outlive the call.
  PreloadReactor(residency::Manager& manager, OpenCalls& calls)
      : manager_(manager), calls_(calls), observer_(*this) {}

  // From the service's method, after Start.
  static void Preload(const std::shared_ptr<PreloadReactor>& reactor,
                      residency::PreloadRequest request);

 private:
  enum Slot { kProgress, kResidency };

  // Apart from the reactor, because both have an OnDone.
  class Observer : public residency::PreloadObserver {
   public:
    explicit Observer(PreloadReactor& reactor) : reactor_(reactor) {}
    void OnProgress(const residency::Progress& progress) override;
    void OnDone(const absl::StatusOr<residency::ResidencyInfo>& result) override;

   private:
    PreloadReactor& reactor_;
  };

  void OnOver() override;

  residency::Manager& manager_;
  OpenCalls& calls_;
  Observer observer_;
  // 0: nothing was asked of the manager.
  std::atomic<residency::Ticket> ticket_{0};
};

}  // namespace modeld::rpc
