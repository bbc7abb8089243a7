// A WatchEvents call: a reader of the event log that comes at its client's pace.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "modeld/v1/residency_service.pb.h"
#include "residency/event_log.h"
#include "rpc/open_calls.h"
#include "rpc/server_stream.h"

namespace modeld::rpc {

// Holds a position in the log and one page of events, however far behind its client is. A client so
// slow that the log has forgotten what comes next for it is dropped. Ends when the daemon stops,
// after telling so.
class WatchReactor final : public ServerStream<v1::WatchEventsResponse> {
 public:
  // Both outlive the call. REQUIRES: `calls` was entered for this call.
  WatchReactor(residency::EventLog& log, OpenCalls& calls) : log_(log), calls_(calls) {}

  // From the service's method, after Start.
  void Watch(const v1::WatchEventsRequest& request);

 private:
  bool Next(v1::WatchEventsResponse& message) override;
  void OnOver() override;
  // False when there is nothing to read now.
  bool TurnPage();

  residency::EventLog& log_;
  OpenCalls& calls_;
  bool history_only_ = false;
  std::atomic<uint64_t> subscription_{0};
  uint64_t first_live_ = 0;  // sequence of the first event that is not history
  // Of the one who sends:
  uint64_t sent_ = 0;  // sequence of the event that was sent last
  std::vector<residency::Event> page_;
  size_t position_ = 0;
};

}  // namespace modeld::rpc
