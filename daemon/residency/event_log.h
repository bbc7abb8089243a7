// What happened, in order: kept for those who ask later, told to those who watch.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "residency/types.h"
#include "wire/mutex.h"

namespace modeld::residency {

// Does it tell of a lease that begins or ends? Most events do.
inline bool IsOfLease(const Event& event) {
  return event.type == EventType::kLeaseGranted || event.type == EventType::kLeaseEnded;
}

// Remembers the last kHistory events and tells each subscriber every event in order, first those of
// the history that it asked for. Thread-safe. Subscribers are called on the thread that publishes
// (or subscribes) and must not block.
class EventLog {
 public:
  static constexpr size_t kHistory = 10'000;

  using Callback = std::function<void(const Event&)>;

  // `clock` outlives the log.
  explicit EventLog(const base::Clock& clock) : clock_(clock) {}

  // What an earlier modeld told, oldest first: goes before everything that is told from now on, and
  // to no subscriber. Sequences go on from there. Once, before the first Publish.
  void Restore(const std::vector<Event>& events);

  // Gives the event its sequence and time.
  void Publish(Event event);

  // The last `count` events, oldest first.
  std::vector<Event> History(size_t count) const;
  // Of what is remembered of a residency, oldest first. Its leases come and go often, so they are
  // remembered only as History() does; everything else goes only after kHistory others of its kind.
  std::vector<Event> About(const std::string& residency_id) const;
  // What is neither a lease that begins nor one that ends, oldest first.
  std::vector<Event> Lasting() const;

  // For readers that come at their own pace.
  struct Page {
    std::vector<Event> events;   // oldest first
    bool has_forgotten = false;  // events that came before these and after the sequence
  };
  // At most `limit` of the events that follow that sequence.
  Page After(uint64_t sequence, size_t limit) const;
  // That after which the last `count` events come.
  uint64_t SequenceBefore(size_t count) const;
  // Of the newest event; 0 before the first.
  uint64_t last_sequence() const;

  // The callback may already run before this returns.
  uint64_t Subscribe(size_t history, Callback callback);

  // After it returns the callback does not run and will not, unless this is called from within it.
  // Idempotent.
  void Unsubscribe(uint64_t id);

 private:
  struct Subscriber {
    explicit Subscriber(Callback callback) : callback(std::move(callback)) {}
    const Callback callback;
    wire::Mutex mutex;
    wire::CondVar idle;
    std::deque<Event> queue MODELD_GUARDED_BY(mutex);
    bool delivering MODELD_GUARDED_BY(mutex) = false;
    bool closed MODELD_GUARDED_BY(mutex) = false;
  };

  static void Deliver(Subscriber& subscriber);
  std::vector<Event> HistoryLocked(size_t count) const MODELD_REQUIRES(mutex_);

  const base::Clock& clock_;
  mutable wire::Mutex mutex_;
  uint64_t last_sequence_ MODELD_GUARDED_BY(mutex_) = 0;
  std::deque<Event> events_ MODELD_GUARDED_BY(mutex_);     // all
  std::deque<Event> lasting_ MODELD_GUARDED_BY(mutex_);    // but for leases
  uint64_t last_forgotten_ MODELD_GUARDED_BY(mutex_) = 0;  // sequence, of those that were told here
  uint64_t last_subscriber_ MODELD_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::shared_ptr<Subscriber>> subscribers_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::residency
