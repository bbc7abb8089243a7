#include "checkpoint/samples.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "checkpoint/read_file.h"
#include "plan/cast.h"
#include "wire/strided_reader.h"

namespace modeld::checkpoint {
namespace {

// The tensors to look at, by index.
std::vector<size_t> Choose(const wire::TableView& table) {
  std::vector<std::pair<uint64_t, size_t>> ranked;
  for (size_t i = 0; i < table.size(); ++i) {
    const wire::TensorEntry entry = table.entry(i);
    ranked.emplace_back(XXH3_64bits(entry.name.data(), entry.name.size()), i);
  }
  const size_t count = std::min(ranked.size(), kSampledTensors);
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(count),
                    ranked.end());
  std::vector<size_t> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(ranked[i].second);
  return chosen;
}

}  // namespace

absl::StatusOr<std::string> TakeSamples(const wire::TableView& table,
                                        std::span<const InputFile> files,
                                        const plan::LoadConfig& config) {
  std::string samples(table.size() * kSampleBytes, '\0');
  std::vector<std::byte> stored;
  std::vector<std::byte> cast;
  for (const size_t index : Choose(table)) {
    const wire::TensorEntry entry = table.entry(index);
    if (entry.size_bytes == 0 || !wire::IsContiguous(entry.shape, entry.strides)) continue;
    const wire::DType to = config.TypeOf(entry.dtype);
    // As many elements as fill kSampledBytes when they are cast. Only types of whole bytes are.
    const uint64_t wanted = to == entry.dtype ? kSampledBytes
                                              : kSampledBytes / wire::DTypeElementBytes(to) *
                                                    wire::DTypeElementBytes(entry.dtype);
    stored.resize(std::min<uint64_t>(entry.size_bytes, wanted));
    if (auto status = ReadFully(files[entry.region], entry.offset, stored); !status.ok()) {
      return status;
    }
    if (to == entry.dtype) {
      cast = stored;
    } else {
      cast.resize(stored.size() / wire::DTypeElementBytes(entry.dtype) *
                  wire::DTypeElementBytes(to));
      plan::CastElements({entry.dtype, to}, stored, cast);
    }
    const XXH128_hash_t hash = XXH3_128bits(cast.data(), cast.size());
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    static_assert(sizeof(canonical) == kSampleBytes);
    std::memcpy(samples.data() + index * kSampleBytes, &canonical, kSampleBytes);
  }
  return samples;
}

}  // namespace modeld::checkpoint
