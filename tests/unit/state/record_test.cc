#include "state/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <variant>

#include "samples.h"

namespace modeld::state {
namespace {

template <typename Kind>
Kind ThereAndBack(const Kind& record) {
  const std::optional<Record> back = DecodeRecord(EncodeRecord(record));
  EXPECT_TRUE(back && std::holds_alternative<Kind>(*back)) << EncodeRecord(record);
  return back && std::holds_alternative<Kind>(*back) ? std::get<Kind>(*back) : Kind{};
}

void ExpectSame(const residency::Alias& a, const residency::Alias& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.spec.reference, b.spec.reference);
  EXPECT_EQ(a.spec.device, b.spec.device);
  EXPECT_EQ(a.spec.instance, b.spec.instance);
  EXPECT_EQ(a.spec.private_copy, b.spec.private_copy);
  EXPECT_EQ(a.spec.keep_host, b.spec.keep_host);
  EXPECT_EQ(a.spec.config, b.spec.config);
  EXPECT_EQ(a.spec.expected_digest, b.spec.expected_digest);
  EXPECT_EQ(a.keep_alive, b.keep_alive);
  EXPECT_EQ(a.content_key, b.content_key);
  EXPECT_EQ(a.digest, b.digest);
  EXPECT_EQ(a.set_time, b.set_time);
}

void ExpectSame(const residency::Event& a, const residency::Event& b) {
  EXPECT_EQ(a.sequence, b.sequence);
  EXPECT_EQ(a.time, b.time);
  EXPECT_EQ(a.type, b.type);
  EXPECT_EQ(a.residency_id, b.residency_id);
  EXPECT_EQ(a.reference, b.reference);
  EXPECT_EQ(a.device, b.device);
  EXPECT_EQ(a.lease_id, b.lease_id);
  EXPECT_EQ(a.pid, b.pid);
  EXPECT_EQ(a.scope, b.scope);
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.cause, b.cause);
  EXPECT_EQ(a.message, b.message);
}

TEST(Record, BringsBackEveryFieldOfAnAlias) {
  const residency::Alias alias = FullAlias("prod");
  ExpectSame(ThereAndBack(residency::SetAlias{alias}).alias, alias);
}

TEST(Record, BringsBackAnAliasOfDefaults) {
  residency::Alias alias;
  ExpectSame(ThereAndBack(residency::SetAlias{alias}).alias, alias);
  alias.keep_alive = base::Duration(0);
  alias.spec.device.clear();
  alias.set_time = At(-1);
  ExpectSame(ThereAndBack(residency::SetAlias{alias}).alias, alias);
  alias.keep_alive = base::Duration::max();
  alias.set_time = At(INT64_MIN);
  ExpectSame(ThereAndBack(residency::SetAlias{alias}).alias, alias);
}

TEST(Record, BringsBackEveryFieldOfAnEvent) {
  ExpectSame(ThereAndBack(FullEvent(7)), FullEvent(7));
  ExpectSame(ThereAndBack(residency::Event{}), residency::Event{});
}

TEST(Record, BringsBackEveryTypeOfEvent) {
  int types = 0;
  for (; residency::EventTypeName(static_cast<residency::EventType>(types)) != "UNKNOWN"; ++types) {
    residency::Event event;
    event.type = static_cast<residency::EventType>(types);
    EXPECT_EQ(ThereAndBack(event).type, event.type);
  }
  EXPECT_GE(types, 20);
}

TEST(Record, BringsBackEveryOtherChange) {
  const std::string name("\xFF\n\0%", 4);
  EXPECT_EQ(ThereAndBack(residency::RemoveAlias{name}).name, name);
  const residency::Key key = FullKey(name);
  EXPECT_EQ(ThereAndBack(residency::SetPin{key, name}).key, key);
  EXPECT_EQ(ThereAndBack(residency::SetPin{key, name}).reference, name);
  EXPECT_EQ(ThereAndBack(residency::RemovePin{key}).key, key);
  EXPECT_EQ(ThereAndBack(Header{77}).version, 77u);
}

TEST(Record, IsOneLineThatPeopleCanRead) {
  residency::Event event;
  event.sequence = 3;
  event.time = At(5);
  event.type = residency::EventType::kLeaseGranted;
  event.reference = "/m\xE9";
  EXPECT_EQ(
      EncodeRecord(event),
      R"({"event":{"sequence":3,"time_nanos":5,"type":"LEASE_GRANTED","reference":"/m%E9"}})");
  EXPECT_EQ(EncodeRecord(Header{}), R"({"modeld_state":1})");
  EXPECT_EQ(EncodeRecord(residency::SetAlias{FullAlias("a")}).find('\n'), std::string::npos);
}

TEST(Record, PassesOverMembersThatItDoesNotKnow) {
  const auto record = DecodeRecord(R"({"remove_alias":{"name":"a","why":["x",1]}})");
  ASSERT_TRUE(record);
  EXPECT_EQ(std::get<residency::RemoveAlias>(*record).name, "a");
}

TEST(Record, IsRefusedWhereItIsNone) {
  for (const char* text : {
           "",
           "{",
           "1",
           "[]",
           "{}",
           "null",
           R"({"something_new":{}})",
           R"({"event":{"type":"DAEMON_STARTED"},"set_pin":{}})",
           R"({"modeld_state":"1"})",
           R"({"modeld_state":-1})",
           R"({"event":{}})",
           R"({"event":[]})",
           R"({"event":{"type":"UNKNOWN"}})",
           R"({"event":{"type":"DAEMON_STARTED","pid":2147483648}})",
           R"({"event":{"type":"DAEMON_STARTED","lease_id":-1}})",
           R"({"event":{"type":"DAEMON_STARTED","lease_id":1.5}})",
           R"({"event":{"type":"DAEMON_STARTED","time_nanos":9223372036854775808}})",
           R"({"event":{"type":"DAEMON_STARTED","scope":"%"}})",
           R"({"set_pin":"x"})",
           R"({"set_pin":{"content":7}})",
           R"({"set_alias":{"name":"a"}})",
           R"({"set_alias":{"name":"a","spec":[]}})",
           R"({"set_alias":{"name":"a","spec":{"cast":"F17"}}})",
           R"({"set_alias":{"name":"a","spec":{"include":"x"}}})",
           R"({"set_alias":{"name":"a","spec":{"include":{"x":"y"}}}})",
           R"({"set_alias":{"name":"a","spec":{"include":[1]}}})",
           R"({"set_alias":{"name":"a","spec":{"private_copy":1}}})",
       }) {
    EXPECT_FALSE(DecodeRecord(text)) << text;
  }
}

TEST(Record, IsRefusedHoweverDeepItNests) {
  EXPECT_FALSE(DecodeRecord(std::string(1'000'000, '[')));
  EXPECT_FALSE(
      DecodeRecord(R"({"event":)" + std::string(400'000, '[') + std::string(400'000, ']') + "}"));
}

}  // namespace
}  // namespace modeld::state
