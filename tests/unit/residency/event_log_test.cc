#include "residency/event_log.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/manual_clock.h"

namespace modeld::residency {
namespace {

Event Named(const std::string& id) {
  Event event;
  event.residency_id = id;
  return event;
}

TEST(EventLog, NumbersEventsFromOne) {
  base::ManualClock clock;
  EventLog log(clock);
  log.Publish(Named("a"));
  log.Publish(Named("b"));
  const auto history = log.History(10);
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[0].sequence, 1u);
  EXPECT_EQ(history[1].sequence, 2u);
}

TEST(EventLog, TellsASubscriberTheHistoryItAskedForAndThenWhatHappens) {
  base::ManualClock clock;
  EventLog log(clock);
  for (const char* id : {"a", "b", "c"}) log.Publish(Named(id));
  std::vector<std::string> told;
  const uint64_t id =
      log.Subscribe(2, [&](const Event& event) { told.push_back(event.residency_id); });
  log.Publish(Named("d"));
  log.Unsubscribe(id);
  log.Publish(Named("e"));
  EXPECT_EQ(told, (std::vector<std::string>{"b", "c", "d"}));
}

TEST(EventLog, ForgetsTheOldest) {
  base::ManualClock clock;
  EventLog log(clock);
  for (size_t i = 0; i < EventLog::kHistory + 3; ++i) log.Publish({});
  const auto history = log.History(EventLog::kHistory * 2);
  EXPECT_EQ(history.size(), EventLog::kHistory);
  EXPECT_EQ(history.front().sequence, 4u);
}

TEST(EventLog, RemembersAResidencyBeyondTheLeasesOfOthers) {
  base::ManualClock clock;
  EventLog log(clock);
  Event ready = Named("a");
  ready.type = EventType::kResidencyReady;
  log.Publish(ready);
  Event lease = Named("b");
  lease.type = EventType::kLeaseGranted;
  for (size_t i = 0; i < EventLog::kHistory; ++i) log.Publish(lease);
  EXPECT_EQ(log.History(EventLog::kHistory).front().residency_id, "b");
  ASSERT_EQ(log.About("a").size(), 1u);
  EXPECT_EQ(log.About("a")[0].type, EventType::kResidencyReady);
  EXPECT_EQ(log.About("b").size(), EventLog::kHistory);
}

TEST(EventLog, TellsAReaderWhatWasForgottenBeforeItCame) {
  base::ManualClock clock;
  EventLog log(clock);
  // Of an earlier modeld, with gaps, which nobody has missed.
  Event old = Named("old");
  old.sequence = 5;
  Event older = Named("older");
  older.sequence = 2;
  log.Restore({older, old});
  log.Publish(Named("new"));
  EXPECT_EQ(log.last_sequence(), 6u);
  EXPECT_EQ(log.SequenceBefore(2), 4u);
  EXPECT_EQ(log.SequenceBefore(100), 1u);
  const auto page = log.After(2, 10);
  ASSERT_EQ(page.events.size(), 2u);
  EXPECT_EQ(page.events[0].sequence, 5u);
  EXPECT_FALSE(page.has_forgotten);
  for (size_t i = 0; i < EventLog::kHistory; ++i) log.Publish({});
  EXPECT_TRUE(log.After(2, 10).has_forgotten);
  EXPECT_FALSE(log.After(log.last_sequence() - 5, 10).has_forgotten);
}

TEST(EventLog, LetsACallbackUnsubscribeItself) {
  base::ManualClock clock;
  EventLog log(clock);
  int told = 0;
  uint64_t id = 0;
  id = log.Subscribe(0, [&](const Event&) {
    ++told;
    log.Unsubscribe(id);
  });
  log.Publish({});
  log.Publish({});
  EXPECT_EQ(told, 1);
}

TEST(EventLog, KeepsTheOrderForEachSubscriberWhenManyPublish) {
  base::ManualClock clock;
  EventLog log(clock);
  std::vector<uint64_t> told;
  const uint64_t id = log.Subscribe(0, [&](const Event& event) { told.push_back(event.sequence); });
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) log.Publish({});
    });
  }
  for (std::thread& thread : threads) thread.join();
  log.Unsubscribe(id);
  ASSERT_EQ(told.size(), 1500u);
  for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(told[i], i + 1);
}

}  // namespace
}  // namespace modeld::residency
