#include "rpc/acquire_reactor.h"

#include <utility>

#include "rpc/convert.h"
#include "rpc/process_end.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::rpc {

void AcquireReactor::Acquire(const std::shared_ptr<AcquireReactor>& reactor,
                             residency::AcquireRequest request) {
  reactor->calls_.Enter();
  reactor->holder_ = request.holder.pid;
  // OnOver comes after the service's method has returned, so it finds the ticket.
  reactor->ticket_ = reactor->manager_.Acquire(std::move(request), reactor);
}

void AcquireReactor::OnOver() {
  const residency::Ticket ticket = ticket_;
  if (ticket == 0) return;
  manager_.Release(ticket, IsEnding(holder_));
  calls_.Leave();
}

void AcquireReactor::OnProgress(const residency::Progress& progress) {
  v1::AcquireUpdate update;
  Fill(progress, *update.mutable_progress());
  Put(kProgress, std::move(update));
}

void AcquireReactor::OnGranted(const residency::Grant& grant) {
  v1::AcquireUpdate update;
  Fill(grant, *update.mutable_granted());
  Put(kGranted, std::move(update));
}

void AcquireReactor::OnDigestKnown(const std::string& digest) {
  v1::AcquireUpdate update;
  update.mutable_digest_known()->set_digest(digest);
  Put(kDigestKnown, std::move(update));
}

void AcquireReactor::OnDrainRequested(const std::string& message, bool stopping) {
  v1::AcquireUpdate update;
  update.mutable_drain_requested()->set_message(wire::ToUtf8(message));
  update.mutable_drain_requested()->set_stopping(stopping);
  Put(kDrainRequested, std::move(update));
}

void AcquireReactor::OnSuperseded(const std::string& alias, const std::string& reference) {
  v1::AcquireUpdate update;
  update.mutable_superseded()->set_alias(alias);
  update.mutable_superseded()->set_reference(reference);
  Put(kSuperseded, std::move(update));
}

void AcquireReactor::OnLost(const absl::Status& why) {
  v1::AcquireUpdate update;
  update.mutable_lost()->set_reason(std::string(wire::ReasonName(wire::GetReason(why))));
  update.mutable_lost()->set_message(wire::ToUtf8(wire::ToStd(why.message())));
  Put(kLost, std::move(update));
}

void AcquireReactor::OnEnded(const absl::Status& status) { End(status); }

}  // namespace modeld::rpc
