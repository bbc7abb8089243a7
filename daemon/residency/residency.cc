#include "residency/residency.h"

#include <algorithm>
#include <cassert>

namespace modeld::residency {

void Residency::ChangeState(State to) {
  assert(CanChange(state_, to));
  state_ = to;
  if (state_ == State::kReady || IsEnded(state_)) {
    checkpoint.reset();
    plan.reset();
    whole_plan.reset();
  }
  if (IsEnded(state_)) {
    memory.reset();
    digests.reset();
    content.reset();
    borrowed.clear();
  }
}

void Residency::Adopt() {
  assert(state_ == State::kPending);
  state_ = record_.draining ? State::kDraining : State::kReady;
}

const Source* ResidencyRecord::FindSource(const std::string& content_key) const {
  const auto found = std::find_if(sources.begin(), sources.end(), [&](const Source& source) {
    return source.content_key == content_key;
  });
  return found == sources.end() ? nullptr : &*found;
}

bool Residency::AddReference(const std::string& content_key, const std::string& reference) {
  for (Source& source : record_.sources) {
    if (source.content_key != content_key) continue;
    auto& references = source.references;
    if (std::find(references.begin(), references.end(), reference) != references.end()) {
      return false;
    }
    references.push_back(reference);
    return true;
  }
  return false;
}

void Residency::DescribeSource(const std::string& format,
                               std::shared_ptr<const plan::SealedReferenceTable> reference_table) {
  Source& source = record_.sources.front();
  source.format = format;
  source.reference_table = std::move(reference_table);
}

std::string Residency::digest_text() const {
  return digests == nullptr ? std::string() : wire::DigestText(digests->content->weights);
}

ResidencyInfo Residency::Info() const {
  ResidencyInfo info;
  info.id = record_.id;
  // One reference may have led here by two states of its file.
  for (const Source& source : record_.sources) {
    for (const std::string& reference : source.references) {
      if (std::ranges::find(info.references, reference) == info.references.end()) {
        info.references.push_back(reference);
      }
    }
  }
  info.digest = digest_text();
  info.device = record_.device;
  info.state = state_;
  info.size_bytes = info.own_bytes = own_bytes_;
  for (const BorrowedSegment& borrowed_segment : borrowed) {
    info.size_bytes += borrowed_segment.segment->info.size_bytes;
  }
  info.lease_count = static_cast<uint32_t>(leases.size());
  info.waiter_count = static_cast<uint32_t>(waiters.size());
  info.pinned = record_.pinned;
  info.instance = record_.instance;
  info.private_copy = record_.private_copy;
  info.generation = record_.generation;
  info.tensor_bytes = tensor_bytes;
  info.tensor_count = tensor_count;
  info.format = record_.sources.front().format;
  info.loaded_bytes = loaded_bytes;
  if (memory != nullptr && !memory->segments.empty()) {
    info.page_size_bytes = memory->segments.front()->info.page_size_bytes;
  }
  info.created_time = created_time;
  info.ready_time = ready_time;
  if (leases.empty()) info.released_time = released_time;
  info.error = error;
  info.keep_alive = record_.keep_alive;
  info.superseded_by = record_.superseded_by;
  return info;
}

}  // namespace modeld::residency
