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
  }
  if (IsEnded(state_)) {
    memory.reset();
    digests.reset();
  }
}

void Residency::AdoptAsReady() {
  assert(state_ == State::kPending);
  state_ = State::kReady;
}

void Residency::AddReference(const std::string& reference) {
  auto& references = record_.references;
  if (std::find(references.begin(), references.end(), reference) == references.end()) {
    references.push_back(reference);
  }
}

std::string Residency::digest_text() const {
  return digests == nullptr ? std::string() : wire::DigestText(digests->weights);
}

ResidencyInfo Residency::Info() const {
  ResidencyInfo info;
  info.id = record_.id;
  info.references = record_.references;
  info.digest = digest_text();
  info.device = record_.device;
  info.state = state_;
  info.size_bytes = size_bytes_;
  info.lease_count = static_cast<uint32_t>(leases.size());
  info.waiter_count = static_cast<uint32_t>(waiters.size());
  info.pinned = pinned;
  info.instance = record_.instance;
  info.private_copy = record_.private_copy;
  info.generation = record_.generation;
  info.tensor_bytes = tensor_bytes;
  info.tensor_count = tensor_count;
  info.format = record_.format;
  info.loaded_bytes = loaded_bytes;
  if (memory != nullptr && !memory->segments.empty()) {
    info.page_size_bytes = memory->segments.front().info.page_size_bytes;
  }
  info.created_time = created_time;
  info.ready_time = ready_time;
  if (leases.empty()) info.released_time = released_time;
  info.error = error;
  return info;
}

}  // namespace modeld::residency
