#include "rpc/preload_reactor.h"

#include <utility>

#include "rpc/convert.h"

namespace modeld::rpc {

void PreloadReactor::Preload(const std::shared_ptr<PreloadReactor>& reactor,
                             residency::PreloadRequest request) {
  reactor->calls_.Enter();
  // The observer lives as long as the reactor that it is part of.
  std::shared_ptr<residency::PreloadObserver> observer(reactor, &reactor->observer_);
  // OnOver comes after the service's method has returned, so it finds the ticket.
  reactor->ticket_ = reactor->manager_.Preload(std::move(request), std::move(observer));
}

void PreloadReactor::OnOver() {
  const residency::Ticket ticket = ticket_;
  if (ticket == 0) return;
  manager_.CancelPreload(ticket);
  calls_.Leave();
}

void PreloadReactor::Observer::OnProgress(const residency::Progress& progress) {
  v1::PreloadUpdate update;
  Fill(progress, *update.mutable_progress());
  reactor_.Put(kProgress, std::move(update));
}

void PreloadReactor::Observer::OnDone(const absl::StatusOr<residency::ResidencyInfo>& result) {
  if (result.ok()) {
    v1::PreloadUpdate update;
    Fill(*result, *update.mutable_residency());
    reactor_.Put(kResidency, std::move(update));
  }
  reactor_.End(result.status());
}

}  // namespace modeld::rpc
