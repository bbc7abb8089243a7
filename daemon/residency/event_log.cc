#include "residency/event_log.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace modeld::residency {
namespace {

// The subscriber that this thread is calling, so that Unsubscribe from within a callback does not
// wait for itself.
thread_local const void* delivering_here = nullptr;

}  // namespace

void EventLog::Restore(const std::vector<Event>& events) {
  wire::MutexLock lock(mutex_);
  const size_t kept = std::min(events.size(), kHistory);
  events_.assign(events.end() - static_cast<std::ptrdiff_t>(kept), events.end());
  std::ranges::remove_copy_if(events_, std::back_inserter(lasting_), IsOfLease);
  if (!events_.empty()) last_sequence_ = events_.back().sequence;
}

void EventLog::Publish(Event event) {
  event.time = clock_.WallNow();
  std::vector<std::shared_ptr<Subscriber>> subscribers;
  {
    wire::MutexLock lock(mutex_);
    event.sequence = ++last_sequence_;
    for (const auto& [id, subscriber] : subscribers_) {
      // Queued under the log's lock, so that every queue has the log's order.
      wire::MutexLock queue_lock(subscriber->mutex);
      subscriber->queue.push_back(event);
      subscribers.push_back(subscriber);
    }
    if (!IsOfLease(event)) {
      lasting_.push_back(event);
      if (lasting_.size() > kHistory) lasting_.pop_front();
    }
    events_.push_back(std::move(event));
    if (events_.size() > kHistory) {
      last_forgotten_ = events_.front().sequence;
      events_.pop_front();
    }
  }
  for (const auto& subscriber : subscribers) Deliver(*subscriber);
}

std::vector<Event> EventLog::History(size_t count) const {
  wire::MutexLock lock(mutex_);
  return HistoryLocked(count);
}

std::vector<Event> EventLog::About(const std::string& residency_id) const {
  std::vector<Event> about;
  {
    wire::MutexLock lock(mutex_);
    for (const Event& event : lasting_) {
      if (event.residency_id == residency_id) about.push_back(event);
    }
    for (const Event& event : events_) {
      if (IsOfLease(event) && event.residency_id == residency_id) about.push_back(event);
    }
  }
  std::ranges::sort(about, {}, &Event::sequence);
  return about;
}

std::vector<Event> EventLog::Lasting() const {
  wire::MutexLock lock(mutex_);
  return {lasting_.begin(), lasting_.end()};
}

EventLog::Page EventLog::After(uint64_t sequence, size_t limit) const {
  wire::MutexLock lock(mutex_);
  const auto begin = std::ranges::upper_bound(events_, sequence, {}, &Event::sequence);
  const auto available = static_cast<size_t>(events_.end() - begin);
  return {.events = {begin, begin + static_cast<std::ptrdiff_t>(std::min(limit, available))},
          .has_forgotten = last_forgotten_ > sequence};
}

uint64_t EventLog::SequenceBefore(size_t count) const {
  wire::MutexLock lock(mutex_);
  const size_t kept = std::min(count, events_.size());
  if (kept == 0) return last_sequence_;
  return (events_.end() - static_cast<std::ptrdiff_t>(kept))->sequence - 1;
}

uint64_t EventLog::last_sequence() const {
  wire::MutexLock lock(mutex_);
  return last_sequence_;
}

std::vector<Event> EventLog::HistoryLocked(size_t count) const {
  const size_t kept = std::min(count, events_.size());
  return {events_.end() - static_cast<std::ptrdiff_t>(kept), events_.end()};
}

uint64_t EventLog::Subscribe(size_t history, Callback callback) {
  auto subscriber = std::make_shared<Subscriber>(std::move(callback));
  uint64_t id = 0;
  {
    wire::MutexLock lock(mutex_);
    wire::MutexLock queue_lock(subscriber->mutex);
    for (Event& event : HistoryLocked(history)) subscriber->queue.push_back(std::move(event));
    id = ++last_subscriber_;
    subscribers_.emplace(id, subscriber);
  }
  Deliver(*subscriber);
  return id;
}

void EventLog::Unsubscribe(uint64_t id) {
  std::shared_ptr<Subscriber> subscriber;
  {
    wire::MutexLock lock(mutex_);
    const auto found = subscribers_.find(id);
    if (found == subscribers_.end()) return;
    subscriber = std::move(found->second);
    subscribers_.erase(found);
  }
  wire::MutexLock lock(subscriber->mutex);
  subscriber->closed = true;
  subscriber->queue.clear();
  while (subscriber->delivering && delivering_here != subscriber.get()) {
    subscriber->idle.Wait(subscriber->mutex);
  }
}

void EventLog::Deliver(Subscriber& subscriber) {
  {
    wire::MutexLock lock(subscriber.mutex);
    // Whoever delivers now will find what was queued.
    if (subscriber.delivering) return;
    subscriber.delivering = true;
  }
  const void* const outer = std::exchange(delivering_here, &subscriber);
  while (true) {
    Event event;
    {
      wire::MutexLock lock(subscriber.mutex);
      if (subscriber.closed || subscriber.queue.empty()) {
        subscriber.delivering = false;
        subscriber.idle.NotifyAll();
        break;
      }
      event = std::move(subscriber.queue.front());
      subscriber.queue.pop_front();
    }
    subscriber.callback(event);
  }
  delivering_here = outer;
}

}  // namespace modeld::residency
