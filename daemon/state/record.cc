#include "state/record.h"

#include <array>
#include <utility>

#include "state/record_json.h"
#include "wire/dtype.h"

namespace modeld::state {
namespace {

using residency::Alias;
using residency::Event;
using residency::EventType;
using residency::Key;
using residency::ModelSpec;

// In the order of Record's alternatives.
constexpr std::array<const char*, 6> kKinds = {"modeld_state", "set_alias",  "remove_alias",
                                               "set_pin",      "remove_pin", "event"};
static_assert(kKinds.size() == std::variant_size_v<Record>);

Json Encode(const ModelSpec& spec) {
  MembersWriter members;
  members.Text("reference", spec.reference);
  members.Text("device", spec.device);
  members.Text("instance", spec.instance);
  members.Flag("private_copy", spec.private_copy);
  members.Flag("keep_host", spec.keep_host);
  if (spec.config.cast) members.Text("cast", wire::DTypeName(*spec.config.cast));
  members.Texts("include", spec.config.include);
  members.Texts("exclude", spec.config.exclude);
  members.Text("key_prefix", spec.config.key_prefix);
  members.Text("expected_digest", spec.expected_digest);
  return members.Take();
}

void Write(const Key& key, MembersWriter& members) {
  members.Text("content", key.content);
  members.Text("device", key.device);
  members.Text("instance", key.instance);
}

Json Encode(const Header& header) { return header.version; }

Json Encode(const residency::SetAlias& change) {
  const Alias& alias = change.alias;
  MembersWriter members;
  members.Text("name", alias.name);
  members.Duration("keep_alive_nanos", alias.keep_alive);
  members.Text("content_key", alias.content_key);
  members.Text("digest", alias.digest);
  members.Time("set_time_nanos", alias.set_time);
  Json object = members.Take();
  object["spec"] = Encode(alias.spec);
  return object;
}

Json Encode(const residency::RemoveAlias& change) {
  MembersWriter members;
  members.Text("name", change.name);
  return members.Take();
}

Json Encode(const residency::SetPin& change) {
  MembersWriter members;
  Write(change.key, members);
  members.Text("reference", change.reference);
  return members.Take();
}

Json Encode(const residency::RemovePin& change) {
  MembersWriter members;
  Write(change.key, members);
  return members.Take();
}

Json Encode(const Event& event) {
  MembersWriter members;
  members.Number("sequence", event.sequence);
  members.Time("time_nanos", event.time);
  members.Text("type", residency::EventTypeName(event.type));
  members.Text("residency_id", event.residency_id);
  members.Text("reference", event.reference);
  members.Text("device", event.device);
  members.Number("lease_id", event.lease_id);
  members.Number("pid", static_cast<uint64_t>(event.pid));
  members.Text("scope", event.scope);
  members.Number("bytes", event.bytes);
  members.Text("reason", event.reason);
  members.Text("cause", event.cause);
  members.Text("message", event.message);
  return members.Take();
}

std::optional<EventType> EventTypeOf(std::string_view name) {
  for (int value = 0;; ++value) {
    const auto type = static_cast<EventType>(value);
    const std::string_view known = residency::EventTypeName(type);
    if (known == "UNKNOWN") return std::nullopt;
    if (known == name) return type;
  }
}

ModelSpec DecodeSpec(Members members, bool& ok) {
  ModelSpec spec;
  spec.reference = members.Text("reference");
  spec.device = members.Text("device");
  spec.instance = members.Text("instance");
  spec.private_copy = members.Flag("private_copy");
  spec.keep_host = members.Flag("keep_host");
  if (const std::string cast = members.Text("cast"); !cast.empty()) {
    spec.config.cast = wire::DTypeFromName(cast);
    if (!spec.config.cast) members.Refuse();
  }
  spec.config.include = members.Texts("include");
  spec.config.exclude = members.Texts("exclude");
  spec.config.key_prefix = members.Text("key_prefix");
  spec.expected_digest = members.Text("expected_digest");
  ok = ok && members.ok();
  return spec;
}

std::optional<Record> DecodeHeader(const Json& value) {
  const auto* const version = value.get_ptr<const uint64_t*>();
  return version != nullptr ? std::optional<Record>(Header{*version}) : std::nullopt;
}

std::optional<Record> DecodeSetAlias(const Json& value) {
  Members members(value);
  Alias alias;
  alias.name = members.Text("name");
  alias.keep_alive = members.Duration("keep_alive_nanos");
  alias.content_key = members.Text("content_key");
  alias.digest = members.Text("digest");
  alias.set_time = members.Time("set_time_nanos");
  bool ok = members.ok() && value.contains("spec");
  if (ok) alias.spec = DecodeSpec(Members(value["spec"]), ok);
  return ok ? std::optional<Record>(residency::SetAlias{std::move(alias)}) : std::nullopt;
}

std::optional<Record> DecodeRemoveAlias(const Json& value) {
  Members members(value);
  residency::RemoveAlias change{members.Text("name")};
  return members.ok() ? std::optional<Record>(std::move(change)) : std::nullopt;
}

Key ReadKey(Members& members) {
  return {members.Text("content"), members.Text("device"), members.Text("instance")};
}

std::optional<Record> DecodeSetPin(const Json& value) {
  Members members(value);
  residency::SetPin change{ReadKey(members), members.Text("reference")};
  return members.ok() ? std::optional<Record>(std::move(change)) : std::nullopt;
}

std::optional<Record> DecodeRemovePin(const Json& value) {
  Members members(value);
  residency::RemovePin change{ReadKey(members)};
  return members.ok() ? std::optional<Record>(std::move(change)) : std::nullopt;
}

std::optional<Record> DecodeEvent(const Json& value) {
  Members members(value);
  Event event;
  event.sequence = members.Unsigned<uint64_t>("sequence");
  event.time = members.Time("time_nanos");
  const std::optional<EventType> type = EventTypeOf(members.Text("type"));
  event.type = type.value_or(EventType::kDaemonStarted);
  event.residency_id = members.Text("residency_id");
  event.reference = members.Text("reference");
  event.device = members.Text("device");
  event.lease_id = members.Unsigned<uint64_t>("lease_id");
  event.pid = members.Unsigned<pid_t>("pid");
  event.scope = members.Text("scope");
  event.bytes = members.Unsigned<uint64_t>("bytes");
  event.reason = members.Text("reason");
  event.cause = members.Text("cause");
  event.message = members.Text("message");
  return members.ok() && type ? std::optional<Record>(std::move(event)) : std::nullopt;
}

constexpr std::array<std::optional<Record> (*)(const Json&), kKinds.size()> kDecoders = {
    DecodeHeader, DecodeSetAlias, DecodeRemoveAlias, DecodeSetPin, DecodeRemovePin, DecodeEvent};

}  // namespace

Record ToRecord(residency::StateChange change) {
  return std::visit([](auto& known) { return Record(std::move(known)); }, change);
}

std::string EncodeRecord(const Record& record) {
  Json object;
  object[kKinds[record.index()]] =
      std::visit([](const auto& known) { return Encode(known); }, record);
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<Record> DecodeRecord(std::string_view text) {
  const Json object = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || object.size() != 1) return std::nullopt;
  for (size_t i = 0; i < kKinds.size(); ++i) {
    const auto member = object.find(kKinds[i]);
    if (member != object.end()) return kDecoders[i](*member);
  }
  return std::nullopt;
}

}  // namespace modeld::state
