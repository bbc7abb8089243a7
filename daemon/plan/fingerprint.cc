#include "plan/fingerprint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <memory>

namespace modeld::plan {
namespace {

constexpr Sample kNotLookedAt = {};

template <class T>
void Add(XXH3_state_t& state, const T& value) {
  XXH3_128bits_update(&state, &value, sizeof(value));
}

}  // namespace

Fingerprint FingerprintOf(const wire::TableView& table, std::vector<Sample> samples) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  for (size_t i = 0; i < table.size(); ++i) {
    const wire::TensorEntry entry = table.entry(i);
    Add(*state, entry.name.size());
    XXH3_128bits_update(state.get(), entry.name.data(), entry.name.size());
    Add(*state, entry.dtype);
    Add(*state, entry.shape.size());
    XXH3_128bits_update(state.get(), entry.shape.data(), entry.shape.size_bytes());
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return {.structure = {hash.high64, hash.low64}, .samples = std::move(samples)};
}

bool MayBeEqual(const Sample& a, const Sample& b) {
  return a == b || a == kNotLookedAt || b == kNotLookedAt;
}

bool MayBeEqual(const Fingerprint& a, const Fingerprint& b) {
  if (a.structure != b.structure) return false;
  if (a.samples.size() != b.samples.size()) return true;  // one was not looked at
  for (size_t i = 0; i < a.samples.size(); ++i) {
    if (!MayBeEqual(a.samples[i], b.samples[i])) return false;
  }
  return true;
}

}  // namespace modeld::plan
