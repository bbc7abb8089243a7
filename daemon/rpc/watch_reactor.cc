#include "rpc/watch_reactor.h"

#include <utility>

#include "rpc/convert.h"
#include "wire/error.h"

namespace modeld::rpc {
namespace {

constexpr size_t kPageEvents = 256;

}  // namespace

void WatchReactor::Watch(const v1::WatchEventsRequest& request) {
  history_only_ = request.history_only();
  first_live_ = log_.last_sequence() + 1;
  sent_ = log_.SequenceBefore(request.history());
  page_ = log_.After(sent_, kPageEvents).events;
  // What was forgotten between the two looks was never promised.
  if (!page_.empty()) sent_ = page_.front().sequence - 1;
  // Tells the client that nothing escapes it from now on, though nothing may happen for hours.
  StartSendInitialMetadata();
  // Each event is only a reason to look: what is read, and when, is up to the client.
  if (!history_only_) {
    subscription_ = log_.Subscribe(0, [this](const residency::Event&) { Wake(); });
  }
  Wake();
}

void WatchReactor::OnOver() {
  if (subscription_ != 0) log_.Unsubscribe(subscription_);
  calls_.Leave();
}

bool WatchReactor::TurnPage() {
  residency::EventLog::Page page = log_.After(sent_, kPageEvents);
  page_ = std::move(page.events);
  position_ = 0;
  if (page_.empty()) return false;
  if (!page.has_forgotten) return true;
  page_.clear();
  End(absl::ResourceExhaustedError(
      "events came faster than they were read, and some are forgotten; watch again"));
  return false;
}

bool WatchReactor::Next(v1::WatchEventsResponse& message) {
  if (history_only_ && sent_ + 1 >= first_live_) {
    End(absl::OkStatus());
    return false;
  }
  if (position_ == page_.size() && !TurnPage()) return false;
  const residency::Event& event = page_[position_++];
  sent_ = event.sequence;
  message.Clear();
  Fill(event, *message.mutable_event());
  if (event.type == residency::EventType::kDaemonStopping && event.sequence >= first_live_) {
    End(wire::MakeError(wire::Reason::kDraining, "modeld is stopping"));
  }
  return true;
}

}  // namespace modeld::rpc
