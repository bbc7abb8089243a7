#include "backend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/error.h"

namespace modeld::residency::model {
namespace {

absl::Status NoAgent() { return wire::MakeError(wire::Reason::kDeviceUnavailable, "no agent"); }

std::shared_ptr<const ResidentDigests> ResidentDigestsOf(const std::string& word) {
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = DigestsOf(word);
  return digests;
}

}  // namespace

// ---- orders ----

void ModelBackend::Load(LoadJob job) {
  const std::string& id = job.record.id;
  if (Find(id) != nullptr || releasing_.contains(id) ||
      std::ranges::any_of(loads_, [&](const Job& one) { return one.job.record.id == id; })) {
    deps_.journal->Broken(absl::StrCat(Name(id), " is loaded twice"));
  }
  const std::string& word = WordOf(job.record);
  for (const BorrowedSegment& borrowed : job.borrowed) {
    if (!held_.contains(borrowed.lender_id)) {
      deps_.journal->Broken(absl::StrCat(Name(id), " borrows from what is not there"));
    }
  }
  // Equal content is never in memory twice, but for those that are going and copies on purpose.
  const auto is_same = [&](const ResidencyRecord& other) {
    return !job.record.private_copy && !other.private_copy && !other.draining &&
           other.instance == job.record.instance && WordOf(other) == word;
  };
  for (const auto& [other, held] : held_) {
    if (is_same(held.record)) {
      deps_.journal->Broken(absl::StrCat(Name(id), " is loaded, as ", other, " is resident"));
    }
  }
  for (const Job& other : loads_) {
    if (!other.cancelled && is_same(other.job.record)) {
      deps_.journal->Broken(absl::StrCat(Name(id), " is loaded with ", other.job.record.id));
    }
  }
  if (!up_) return observer_->OnLoadFailed(id, NoAgent());
  deps_.journal->Add(absl::StrCat("load ", Name(id), " ", word));
  loads_.push_back({std::move(job)});
}

void ModelBackend::Identify(LoadJob job) {
  const std::string id = job.record.id;
  if (!up_) return observer_->OnIdentified(id, NoAgent());
  deps_.journal->Add(absl::StrCat("read ", Name(id)));
  readings_.push_back({std::move(job)});
}

void ModelBackend::CancelLoad(const std::string& residency_id) {
  for (auto* jobs : {&loads_, &readings_}) {
    for (Job& one : *jobs) {
      if (one.job.record.id == residency_id) one.cancelled = true;
    }
  }
}

void ModelBackend::UpdateRecord(const ResidencyRecord& record) {
  Held* const held = Find(record.id);
  if (held == nullptr) {
    return deps_.journal->Broken(absl::StrCat("a record of ", Name(record.id), ", not here"));
  }
  held->record = record;
}

void ModelBackend::Release(const std::string& residency_id) {
  auto node = held_.extract(residency_id);
  if (node.empty()) {
    return deps_.journal->Broken(absl::StrCat(Name(residency_id), " is released and not here"));
  }
  const ResidencyRecord& record = node.mapped().record;
  if (deps_.is_leased(residency_id)) {
    deps_.journal->Broken(absl::StrCat(Name(residency_id), " is released and leased"));
  }
  const bool refused = residency_id == telling_of_ && !adopted_;
  if (record.pinned && !record.private_copy && !record.draining && !refused &&
      !node.mapped().unwanted) {
    deps_.journal->Broken(absl::StrCat(Name(residency_id), " is released and pinned"));
  }
  for (const Job& load : loads_) {
    const bool lends = std::ranges::any_of(load.job.borrowed, [&](const BorrowedSegment& one) {
      return one.lender_id == residency_id;
    });
    if (lends) deps_.journal->Broken(absl::StrCat(Name(residency_id), " is released and lends"));
  }
  deps_.journal->Add(absl::StrCat("release ", Name(residency_id)));
  const uint64_t left = Leave(*node.mapped().memory);
  // What it never took is in no ledger.
  releasing_[residency_id] = refused ? 0 : left;
  if (up_) return;
  releasing_.erase(residency_id);
  observer_->OnReleased(residency_id, 0);
}

void ModelBackend::Adopt(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory>,
                         std::shared_ptr<const ResidentDigests>) {
  Held* const held = Find(record.id);
  if (held == nullptr) {
    return deps_.journal->Broken(absl::StrCat(Name(record.id), " is given and not here"));
  }
  held->there = true;
  held->record = record;
}

// ---- answers ----

bool ModelBackend::FinishLoad(bool may_fail, base::Duration min_residency) {
  if (loads_.empty()) return false;
  const auto at = loads_.begin() + static_cast<std::ptrdiff_t>(deps_.chance->Below(loads_.size()));
  const Job load = std::move(*at);
  loads_.erase(at);
  const std::string& id = load.job.record.id;
  deps_.journal->Add(Name(id));
  if (load.cancelled && deps_.chance->Percent(70)) {
    observer_->OnLoadFailed(id, absl::CancelledError("cancelled"));
  } else if (may_fail && deps_.chance->Percent(8)) {
    observer_->OnLoadFailed(id, wire::MakeError(wire::Reason::kReadFailed, "a bad disk"));
  } else {
    Held& held = held_[id];
    held.record = load.job.record;
    held.memory = Allocate(load.job);
    held.used_until = deps_.now();
    held.unwanted = load.cancelled;
    held.protected_until = load.cancelled ? base::TimePoint::min() : deps_.now() + min_residency;
    Use(*held.memory);
    observer_->OnLoaded(id, held.memory, {"buffered", 1});
  }
  return true;
}

bool ModelBackend::FinishReading(bool may_fail) {
  if (readings_.empty()) return false;
  const auto at =
      readings_.begin() + static_cast<std::ptrdiff_t>(deps_.chance->Below(readings_.size()));
  const Job reading = std::move(*at);
  readings_.erase(at);
  const std::string& id = reading.job.record.id;
  deps_.journal->Add(Name(id));
  if (reading.cancelled && deps_.chance->Percent(70)) {
    observer_->OnIdentified(id, absl::CancelledError("cancelled"));
  } else if (may_fail && deps_.chance->Percent(5)) {
    observer_->OnIdentified(id, wire::MakeError(wire::Reason::kReadFailed, "a bad disk"));
  } else {
    observer_->OnIdentified(id, DigestsOf(WordOf(reading.job.record)));
  }
  return true;
}

bool ModelBackend::FinishDigest() {
  if (!up_) return false;
  std::vector<std::string> ids;
  for (const auto& [id, held] : held_) {
    if (held.digests == nullptr && held.there) ids.push_back(id);
  }
  if (ids.empty()) return false;
  const std::string& id = ids[deps_.chance->Below(ids.size())];
  Held& held = held_.at(id);
  held.digests = ResidentDigestsOf(WordOf(held.record));
  deps_.journal->Add(Name(id));
  observer_->OnDigest(id, std::shared_ptr<const ResidentDigests>(held.digests));
  return true;
}

bool ModelBackend::FinishRelease() {
  if (releasing_.empty()) return false;
  const auto at = std::next(releasing_.begin(),
                            static_cast<std::ptrdiff_t>(deps_.chance->Below(releasing_.size())));
  const std::string id = at->first;
  releasing_.erase(at);
  deps_.journal->Add(Name(id));
  observer_->OnReleased(id, 0);
  return true;
}

bool ModelBackend::TellProgress() {
  if (loads_.empty()) return false;
  observer_->OnLoadProgress(loads_[deps_.chance->Below(loads_.size())].job.record.id, 1);
  return true;
}

// ---- ups and downs ----

void ModelBackend::GoDown() {
  up_ = false;
  for (const Job& load : std::exchange(loads_, {})) {
    observer_->OnLoadFailed(load.job.record.id, NoAgent());
  }
  for (const Job& reading : std::exchange(readings_, {})) {
    observer_->OnIdentified(reading.job.record.id, NoAgent());
  }
  for (const auto& [id, bytes] : std::exchange(releasing_, {})) observer_->OnReleased(id, 0);
  for (auto& [id, held] : held_) held.there = false;
  if (deps_.kind == wire::SegmentKind::kCudaIpc) {
    held_.clear();
    users_.clear();
  }
  observer_->OnAgentDown(deps_.device, NoAgent());
}

void ModelBackend::ComeUp() {
  up_ = true;
  observer_->OnAgentUp(deps_.device, {.pid = 7, .export_kind = "memfd"});
  for (const auto& [id, held] : held_) {
    if (!held.there) deps_.journal->Broken(absl::StrCat("the agent is not given ", Name(id)));
  }
}

void ModelBackend::LoseModeld() {
  loads_.clear();
  readings_.clear();
  releasing_.clear();
  users_.clear();
  if (!up_) held_.clear();  // the memory was modeld's alone
  up_ = false;
  observer_ = nullptr;
}

void ModelBackend::TellInventory(base::Duration grace) {
  up_ = true;
  observer_->OnAgentUp(deps_.device, {.pid = 7, .export_kind = "memfd"});
  const std::map<std::string, Held> inventory = held_;
  for (const auto& [id, entry] : inventory) {
    Held& held = held_.at(id);
    Use(*held.memory);
    held.used_until = deps_.now();
    held.protected_until = deps_.now() + grace;
    telling_of_ = id;
    adopted_ = false;
    observer_->OnInventory(entry.record, entry.memory, entry.digests);
    telling_of_.clear();
    deps_.journal->Add(absl::StrCat(adopted_ ? "took " : "left ", Name(id), " with ",
                                    entry.memory->segments.size(), " segments"));
  }
}

// ---- memory ----

ModelBackend::Held* ModelBackend::Find(const std::string& residency_id) {
  const auto found = held_.find(residency_id);
  return found == held_.end() ? nullptr : &found->second;
}

std::shared_ptr<const ResidentMemory> ModelBackend::Allocate(const LoadJob& job) const {
  auto memory = std::make_shared<ResidentMemory>();
  memory->table = job.plan->table;
  for (const uint64_t size : job.plan->segment_sizes) {
    auto segment = std::make_shared<LoadedSegment>();
    segment->id = absl::StrCat(job.record.id, "/", memory->segments.size());
    segment->info.kind = deps_.kind;
    segment->info.size_bytes = size;
    segment->info.page_size_bytes = 4096;
    memory->segments.push_back(std::move(segment));
  }
  for (const BorrowedSegment& one : job.borrowed) memory->segments.push_back(one.segment);
  return memory;
}

void ModelBackend::Use(const ResidentMemory& memory) {
  for (const auto& segment : memory.segments) ++users_[segment->id];
}

uint64_t ModelBackend::Leave(const ResidentMemory& memory) {
  uint64_t left = 0;
  for (const auto& segment : memory.segments) {
    if (--users_[segment->id] > 0) continue;
    users_.erase(segment->id);
    left += segment->info.size_bytes;
  }
  return left;
}

uint64_t ModelBackend::reserved_bytes() const {
  uint64_t bytes = 0;
  for (const Job& load : loads_) bytes += load.job.plan->resident_bytes();
  return bytes;
}

uint64_t ModelBackend::resident_bytes() const {
  std::set<std::string> counted;
  uint64_t bytes = 0;
  for (const auto& [id, held] : held_) {
    for (const auto& segment : held.memory->segments) {
      if (counted.insert(segment->id).second) bytes += segment->info.size_bytes;
    }
  }
  for (const auto& [id, released] : releasing_) bytes += released;
  return bytes;
}

}  // namespace modeld::residency::model
