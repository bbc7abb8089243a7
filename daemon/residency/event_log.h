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
  // At most `limit` of the events that follow that sequence, oldest first: for readers that come at
  // their own pace. Where the first one does not follow directly, those between have been
  // forgotten.
  std::vector<Event> After(uint64_t sequence, size_t limit) const;
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
  std::deque<Event> events_ MODELD_GUARDED_BY(mutex_);
  uint64_t last_subscriber_ MODELD_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::shared_ptr<Subscriber>> subscribers_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::residency
