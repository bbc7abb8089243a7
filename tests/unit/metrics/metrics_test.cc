#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <fstream>
#include <regex>
#include <set>

#include "base/manual_clock.h"
#include "metrics/activity.h"
#include "metrics/exporter.h"
#include "metrics/names.h"
#include "metrics/state.h"

namespace modeld::metrics {
namespace {

using residency::AcquireResult;
using residency::Event;
using residency::EventType;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Text(const std::vector<prometheus::MetricFamily>& families) {
  return prometheus::TextSerializer().Serialize(families);
}

Event Of(EventType type, const std::string& id, std::string_view cause = "") {
  Event event;
  event.type = type;
  event.residency_id = id;
  event.device = "host";
  event.bytes = 4096;
  event.cause = cause;
  return event;
}

class ActivityTest : public ::testing::Test {
 protected:
  void Happens(EventType type, const std::string& id, std::string_view cause = "") {
    activity_.OnEvent(Of(type, id, cause));
  }
  std::string text() const { return Text(activity_.Collect()); }

  base::ManualClock clock_;
  Activity activity_{clock_};
};

TEST_F(ActivityTest, CountsAcquiresByHowTheyWereAnswered) {
  EXPECT_THAT(text(), HasSubstr("modeld_acquires_total{result=\"hit\"} 0"));
  activity_.OnAcquired(AcquireResult::kHit, milliseconds(1));
  activity_.OnAcquired(AcquireResult::kHit, milliseconds(2));
  activity_.OnAcquired(AcquireResult::kRefused, seconds(3));
  EXPECT_THAT(text(), HasSubstr("modeld_acquires_total{result=\"hit\"} 2"));
  EXPECT_THAT(text(), HasSubstr("modeld_acquires_total{result=\"refused\"} 1"));
  EXPECT_THAT(text(), HasSubstr("modeld_acquires_total{result=\"loaded\"} 0"));
  EXPECT_THAT(text(), HasSubstr("modeld_acquire_seconds_sum{result=\"refused\"} 3"));
}

TEST_F(ActivityTest, TimesALoadFromItsStart) {
  Happens(EventType::kLoadStarted, "a");
  clock_.Advance(seconds(4));
  Happens(EventType::kResidencyReady, "a");
  EXPECT_THAT(text(), HasSubstr("modeld_loads_total{device=\"host\",result=\"done\"} 1"));
  EXPECT_THAT(text(), HasSubstr("modeld_load_seconds_sum{device=\"host\"} 4"));
  EXPECT_THAT(text(), HasSubstr("modeld_load_bytes_total{device=\"host\"} 4096"));
}

TEST_F(ActivityTest, TellsAFailedLoadFromACancelledOne) {
  Happens(EventType::kLoadStarted, "a");
  Happens(EventType::kLoadFailed, "a");
  Happens(EventType::kLoadCancelled, "b");
  EXPECT_THAT(text(), HasSubstr("result=\"failed\"} 1"));
  EXPECT_THAT(text(), HasSubstr("result=\"cancelled\"} 1"));
  EXPECT_THAT(text(), Not(HasSubstr("result=\"done\"")));
}

TEST_F(ActivityTest, KnowsHowOldWasWhatWentAndWhy) {
  Happens(EventType::kResidencyReady, "a");
  clock_.Advance(seconds(100));
  Happens(EventType::kResidencyDraining, "a", residency::cause::kRoom);
  Happens(EventType::kResidencyEvicted, "a");
  EXPECT_THAT(text(), HasSubstr("modeld_evictions_total{cause=\"room\",device=\"host\"} 1"));
  EXPECT_THAT(text(),
              HasSubstr("modeld_eviction_age_seconds_sum{cause=\"room\",device=\"host\"} 100"));
}

TEST_F(ActivityTest, CountsWhatWasTakenOverAndWhatWasLost) {
  Happens(EventType::kResidencyAdopted, "a");
  Happens(EventType::kResidencyLost, "a");
  Happens(EventType::kLeaseEnded, "a", residency::cause::kLost);
  EXPECT_THAT(text(), HasSubstr("modeld_residencies_adopted_total{device=\"host\"} 1"));
  EXPECT_THAT(text(), HasSubstr("modeld_residencies_lost_total{device=\"host\"} 1"));
  EXPECT_THAT(text(), HasSubstr("modeld_lease_ends_total{cause=\"lost\"} 1"));
  EXPECT_THAT(text(), HasSubstr("modeld_lease_ends_total{cause=\"died\"} 0"));
}

TEST_F(ActivityTest, TimesCallsByMethodAndCode) {
  activity_.OnCall("/modeld.v1.ResidencyService/ListLeases", "OK", milliseconds(500));
  EXPECT_THAT(text(), HasSubstr("modeld_rpc_seconds_sum{code=\"OK\",method=\"ListLeases\"} 0.5"));
}

residency::Snapshot ASnapshot() {
  residency::Snapshot snapshot;
  residency::DeviceInfo device;
  device.id = "host";
  device.capacity_bytes = 1000;
  device.reserved_bytes = 100;
  device.resident_bytes = 700;
  device.evictable_bytes = 200;
  device.available = true;
  device.agent_starts = 2;
  snapshot.devices.push_back(device);
  const auto add = [&](residency::State state, uint64_t bytes, uint32_t leases) {
    residency::ResidencyInfo info;
    info.device = "host";
    info.state = state;
    info.size_bytes = bytes;
    info.lease_count = leases;
    info.waiter_count = state == residency::State::kLoading ? 3 : 0;
    snapshot.residencies.push_back(info);
  };
  add(residency::State::kReady, 400, 3);
  add(residency::State::kReady, 100, 1);
  add(residency::State::kReady, 200, 0);
  add(residency::State::kLoading, 100, 0);
  add(residency::State::kEvicted, 100, 0);
  return snapshot;
}

TEST(State, ShowsTheLedgerAndWhatSharingSaves) {
  const std::string text = Text(StateOf(ASnapshot()));
  for (const char* line : {
           "modeld_device_up{device=\"host\"} 1",
           "modeld_device_capacity_bytes{device=\"host\"} 1000",
           "modeld_device_reserved_bytes{device=\"host\"} 100",
           "modeld_device_resident_bytes{device=\"host\"} 700",
           "modeld_device_shared_bytes{device=\"host\"} 400",
           "modeld_device_saved_bytes{device=\"host\"} 800",
           "modeld_device_held_bytes{device=\"host\"} 500",
           "modeld_device_evictable_bytes{device=\"host\"} 200",
           "modeld_agent_starts_total{device=\"host\"} 2",
           "modeld_residencies{device=\"host\",state=\"ready\"} 3",
           "modeld_residencies{device=\"host\",state=\"loading\"} 1",
           "modeld_residencies{device=\"host\",state=\"draining\"} 0",
           "modeld_leases{device=\"host\"} 4",
           "modeld_waiters{device=\"host\"} 3",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("evicted")));
}

TEST(State, IsLeftOutWhenTheManagerDoesNotAnswer) {
  residency::Reply<residency::Snapshot> late;
  const State state([&](auto reply) { late = std::move(reply); }, milliseconds(1),
                    Identity("1.2.3", base::WallTime(seconds(5))));
  const std::string text = Text(state.Collect());
  EXPECT_THAT(text, HasSubstr("modeld_build_info{version=\"1.2.3\"} 1"));
  EXPECT_THAT(text, HasSubstr("modeld_start_time_seconds 5"));
  EXPECT_THAT(text, Not(HasSubstr("modeld_device")));
  late(ASnapshot());  // to nobody
}

TEST(Exporter, SaysThatAPortIsTaken) {
  const auto first = Exporter::Start("127.0.0.1:0", {});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Exporter::Start("127.0.0.1:" + std::to_string((*first)->port()), {});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("metrics_listen"));
}

std::string_view KindName(Kind kind) {
  return kind == Kind::kCounter ? "counter" : kind == Kind::kGauge ? "gauge" : "histogram";
}

// Metrics as the families really are: name, type and help. Everything that can happen has happened.
std::map<std::string, prometheus::MetricFamily> AllFamilies() {
  const base::ManualClock clock;
  Activity activity(clock);
  activity.OnAcquired(AcquireResult::kHit, milliseconds(1));
  activity.OnCall("/a/B", "OK", milliseconds(1));
  for (const EventType type :
       {EventType::kLoadStarted, EventType::kResidencyReady, EventType::kResidencyDraining,
        EventType::kResidencyEvicted, EventType::kResidencyAdopted, EventType::kResidencyLost,
        EventType::kLeaseEnded}) {
    activity.OnEvent(Of(type, "a", residency::cause::kRoom));
  }
  std::map<std::string, prometheus::MetricFamily> families;
  for (const auto& collected :
       {activity.Collect(), StateOf(ASnapshot()), Identity("1", base::WallTime())}) {
    for (const prometheus::MetricFamily& family : collected) families[family.name] = family;
  }
  return families;
}

TEST(Names, AreThoseOfTheFamiliesAndTheirLabels) {
  const auto families = AllFamilies();
  EXPECT_EQ(families.size(), std::size(kNames));
  for (const Name* name : kNames) {
    const auto family = families.find(std::string(name->name));
    ASSERT_NE(family, families.end()) << name->name;
    ASSERT_FALSE(family->second.metric.empty()) << name->name;
    std::set<std::string> labels;
    for (const auto& label : family->second.metric.front().label) labels.insert(label.name);
    std::set<std::string> documented;
    std::istringstream list{std::string(name->labels)};
    for (std::string label; std::getline(list, label, ',');) documented.insert(label);
    EXPECT_EQ(labels, documented) << name->name;
    EXPECT_EQ(family->second.help, name->help);
  }
}

TEST(Names, AreWhatTheDocumentationSays) {
  std::ifstream page(MODELD_METRICS_PAGE);
  ASSERT_TRUE(page.is_open());
  std::set<std::string> documented;
  const std::regex row(R"(\| `(modeld_[a-z_]+)` \| .*)");
  std::smatch match;
  for (std::string line; std::getline(page, line);) {
    if (std::regex_match(line, match, row)) documented.insert(line);
  }
  std::set<std::string> wanted;
  for (const Name* name : kNames) {
    const std::string labels = std::regex_replace(std::string(name->labels), std::regex(","), ", ");
    wanted.insert("| `" + std::string(name->name) + "` | " + std::string(KindName(name->kind)) +
                  " | " + labels + (labels.empty() ? "| " : " | ") + std::string(name->help) +
                  " |");
  }
  EXPECT_EQ(documented, wanted) << "docs/metrics.md and daemon/metrics/names.h differ";
}

}  // namespace
}  // namespace modeld::metrics
