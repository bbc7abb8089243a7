#include "rpc/convert.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "wire/dtype.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::rpc {
namespace {

v1::Progress::Phase PhaseOf(residency::Phase phase) {
  switch (phase) {
    case residency::Phase::kPlanning:
      return v1::Progress::PLANNING;
    case residency::Phase::kIdentifying:
      return v1::Progress::IDENTIFYING;
    case residency::Phase::kWaiting:
      return v1::Progress::WAITING;
    case residency::Phase::kLoading:
      return v1::Progress::LOADING;
  }
  return v1::Progress::PHASE_UNSPECIFIED;
}

v1::Residency::State StateOf(residency::State state) {
  switch (state) {
    case residency::State::kPending:
      return v1::Residency::PENDING;
    case residency::State::kIdentifying:
      return v1::Residency::IDENTIFYING;
    case residency::State::kLoading:
      return v1::Residency::LOADING;
    case residency::State::kReady:
      return v1::Residency::READY;
    case residency::State::kDraining:
      return v1::Residency::DRAINING;
    case residency::State::kEvicted:
      return v1::Residency::EVICTED;
    case residency::State::kFailed:
      return v1::Residency::FAILED;
    case residency::State::kLost:
      return v1::Residency::LOST;
  }
  return v1::Residency::STATE_UNSPECIFIED;
}

// The two enums have the same names, and a test holds them to that.
v1::Event::Type TypeOf(residency::EventType type) {
  v1::Event::Type result = v1::Event::TYPE_UNSPECIFIED;
  v1::Event::Type_Parse(std::string(residency::EventTypeName(type)), &result);
  return result;
}

// Negative: forever.
void FillKeepAlive(base::Duration from, google::protobuf::Duration& to) {
  if (from == residency::kForever) {
    to.set_seconds(-1);
    return;
  }
  to.set_seconds(from.count() / 1'000'000'000);
  to.set_nanos(static_cast<int32_t>(from.count() % 1'000'000'000));
}

}  // namespace

void Fill(base::WallTime from, google::protobuf::Timestamp& to) {
  const auto since_epoch = from.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  to.set_seconds(seconds.count());
  to.set_nanos(static_cast<int32_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch - seconds).count()));
}

std::string LeaseIdText(uint64_t lease_id) { return absl::StrCat(lease_id); }

void Fill(const residency::Progress& from, v1::Progress& to) {
  to.set_phase(PhaseOf(from.phase));
  to.set_bytes_done(from.bytes_done);
  to.set_bytes_total(from.bytes_total);
  to.set_message(wire::ToUtf8(from.message));
}

void Fill(const residency::Grant& from, v1::Granted& to) {
  to.set_lease_id(LeaseIdText(from.lease_id));
  to.set_residency_id(from.residency_id);
  to.set_generation(from.generation);
  to.set_digest(from.digest);
  to.set_device(from.device);
  to.mutable_segments()->Reserve(static_cast<int>(from.segments.size()));
  for (const residency::SegmentInfo& segment : from.segments) {
    wire::ToProto(segment, *to.add_segments());
  }
  to.set_table_size_bytes(from.table_size_bytes);
  to.set_reference_table_size_bytes(from.reference_table_size_bytes);
  to.set_tensor_bytes(from.tensor_bytes);
  to.set_format(from.format);
}

void Fill(const residency::ResidencyInfo& from, v1::Residency& to) {
  to.set_id(from.id);
  if (!from.references.empty()) to.set_reference(from.references.front());
  for (const std::string& reference : from.references) to.add_references(reference);
  to.set_digest(from.digest);
  to.set_device(from.device);
  to.set_state(StateOf(from.state));
  to.set_size_bytes(from.size_bytes);
  to.set_own_bytes(from.own_bytes);
  to.set_shared_bytes(from.shared_bytes);
  to.set_stranded_bytes(from.stranded_bytes);
  to.set_lease_count(from.lease_count);
  to.set_waiter_count(from.waiter_count);
  to.set_pinned(from.pinned);
  to.set_instance(from.instance);
  to.set_private_copy(from.private_copy);
  to.set_generation(from.generation);
  to.set_tensor_bytes(from.tensor_bytes);
  to.set_tensor_count(from.tensor_count);
  to.set_format(from.format);
  to.set_loaded_bytes(from.loaded_bytes);
  to.set_page_size_bytes(from.page_size_bytes);
  Fill(from.created_time, *to.mutable_created_time());
  if (from.ready_time) Fill(*from.ready_time, *to.mutable_ready_time());
  if (from.released_time) Fill(*from.released_time, *to.mutable_released_time());
  if (!from.error.ok()) {
    to.set_error_reason(std::string(wire::ReasonName(wire::GetReason(from.error))));
    to.set_error_message(wire::ToUtf8(wire::ToStd(from.error.message())));
  }
  for (const std::string& alias : from.aliases) to.add_aliases(alias);
  if (from.keep_alive) FillKeepAlive(*from.keep_alive, *to.mutable_keep_alive());
  if (from.expire_time) Fill(*from.expire_time, *to.mutable_expire_time());
  to.set_superseded_by(from.superseded_by);
}

void Fill(const residency::LeaseInfo& from, v1::Lease& to) {
  to.set_id(LeaseIdText(from.id));
  to.set_residency_id(from.residency_id);
  to.set_reference(from.reference);
  to.set_pid(from.holder.pid);
  to.set_uid(from.holder.uid);
  to.set_gid(from.holder.gid);
  to.set_program(from.holder.program);
  to.set_scope(from.holder.scope);
  Fill(from.granted_time, *to.mutable_granted_time());
}

void Fill(const residency::DeviceInfo& from, v1::Device& to) {
  to.set_id(from.id);
  to.set_kind(from.id == residency::kHostDevice ? v1::Device::HOST : v1::Device::CUDA);
  to.set_capacity_bytes(from.capacity_bytes);
  to.set_reserved_bytes(from.reserved_bytes);
  to.set_resident_bytes(from.resident_bytes);
  to.set_evictable_bytes(from.evictable_bytes);
  to.set_export_(from.export_kind);
  to.set_page_size_bytes(from.page_size_bytes);
  to.set_page_size_note(from.page_size_note);
  to.set_export_note(from.export_note);
  to.set_index(from.facts.index);
  to.set_name(wire::ToUtf8(from.facts.name));
  to.set_pci_bus_id(from.facts.pci_bus_id);
  to.set_memory_bytes(from.facts.memory_bytes);
  to.set_available(from.available);
  to.set_agent_pid(from.agent_pid);
  to.set_agent_starts(from.agent_starts);
  for (const std::string& note : from.notes) to.add_notes(wire::ToUtf8(note));
}

void Fill(const residency::Event& from, v1::Event& to) {
  to.set_sequence(from.sequence);
  Fill(from.time, *to.mutable_time());
  to.set_type(TypeOf(from.type));
  to.set_residency_id(from.residency_id);
  to.set_reference(from.reference);
  to.set_device(from.device);
  if (from.lease_id != 0) to.set_lease_id(LeaseIdText(from.lease_id));
  to.set_pid(from.pid);
  to.set_scope(from.scope);
  to.set_bytes(from.bytes);
  to.set_reason(from.reason);
  to.set_message(wire::ToUtf8(from.message));
  to.set_cause(from.cause);
}

void Fill(const residency::Alias& from, v1::Alias& to) {
  to.set_name(from.name);
  v1::ModelSpec& spec = *to.mutable_spec();
  spec.set_reference(from.spec.reference);
  spec.set_device(from.spec.device);
  spec.set_keep_host(from.spec.keep_host);
  spec.set_expected_digest(from.spec.expected_digest);
  const plan::LoadConfig& config = from.spec.config;
  if (!config.empty()) {
    v1::LoadConfig& filled = *spec.mutable_load_config();
    if (config.cast) filled.set_cast(std::string(wire::DTypeName(*config.cast)));
    filled.mutable_include()->Add(config.include.begin(), config.include.end());
    filled.mutable_exclude()->Add(config.exclude.begin(), config.exclude.end());
    filled.set_key_prefix(config.key_prefix);
  }
  if (from.keep_alive) FillKeepAlive(*from.keep_alive, *to.mutable_keep_alive());
  to.set_digest(from.digest);
  Fill(from.set_time, *to.mutable_set_time());
}

void Fill(const residency::PinInfo& from, v1::Pin& to) {
  to.set_reference(from.reference);
  to.set_device(from.device);
  to.set_instance(from.instance);
  to.set_residency_id(from.residency_id);
}

void Fill(const residency::AliasResult& from, v1::SetAliasResult& to) {
  Fill(from.alias, *to.mutable_alias());
  Fill(from.residency, *to.mutable_residency());
  for (const residency::ResidencyInfo& old : from.superseded) Fill(old, *to.add_superseded());
  to.set_told_holders(from.told_holders);
}

void Fill(const residency::EvictResult& from, v1::EvictResponse& to) {
  Fill(from.residency, *to.mutable_residency());
  to.set_freed_bytes(from.freed_bytes);
  for (const residency::LeaseInfo& holder : from.holders) Fill(holder, *to.add_holders());
}

void Fill(const residency::Explanation& from, v1::ExplainResidencyResponse& to) {
  if (from.residency) Fill(*from.residency, *to.mutable_residency());
  for (const std::string& sentence : from.sentences) to.add_sentences(wire::ToUtf8(sentence));
  for (const residency::Event& event : from.events) Fill(event, *to.add_events());
  for (const residency::EvictionCandidate& candidate : from.eviction_order) {
    v1::EvictionCandidate& filled = *to.add_eviction_order();
    filled.set_residency_id(candidate.residency_id);
    filled.set_reference(wire::ToUtf8(candidate.reference));
    Fill(candidate.idle_since, *filled.mutable_idle_since());
    filled.set_freed_bytes(candidate.freed_bytes);
    if (candidate.not_before) Fill(*candidate.not_before, *filled.mutable_not_before());
  }
}

}  // namespace modeld::rpc
