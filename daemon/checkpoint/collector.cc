#include "checkpoint/collector.h"

#include <algorithm>

#include "checkpoint/shard_index.h"

namespace modeld::checkpoint {
namespace {

constexpr size_t kMaxPrefixes = 8;

}  // namespace

bool Collector::AddTensor(const wire::TensorEntry& entry) {
  ++seen_;
  dimensions_ += entry.shape.size();
  RememberPrefix(entry.name);
  if (index_ != nullptr) index_->Found(entry.name, entry.region);
  const auto name = config_.NameOf(entry.name);
  if (!name) return true;
  if (!names_.emplace(*name).second) return false;
  wire::TensorEntry taken = entry;
  taken.name = *name;
  builder_.Add(taken);
  return true;
}

void Collector::AddMetadata(std::string_view key, std::string_view value) {
  if (metadata_keys_.size() >= kMaxMetadata) return;
  if (metadata_keys_.emplace(key).second) reference_table_.AddMetadata(key, value);
}

void Collector::RememberPrefix(std::string_view name) {
  if (prefixes_.size() >= kMaxPrefixes) return;
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return;
  const std::string_view prefix = name.substr(0, dot + 1);
  if (std::find(prefixes_.begin(), prefixes_.end(), prefix) == prefixes_.end()) {
    prefixes_.emplace_back(prefix);
  }
}

}  // namespace modeld::checkpoint
