// Sizes and durations as people write them. Pure.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace modeld::app {

// A number of bytes, or a part of something.
struct Capacity {
  uint64_t bytes = 0;
  double percent = 0;  // not 0: of the machine's memory, and `bytes` is 0

  bool operator==(const Capacity&) const = default;
};

// `4096`, `512MiB`, `12GiB`, `1.5TiB` (powers of 1024: K, M, G, T with `iB`), `40GB` (powers of
// 1000), blanks allowed before the unit; for a capacity `75%` too, of more than 0 and at most 100.
// INVALID_ARGUMENT says what is wrong, without naming the setting.
absl::StatusOr<uint64_t> ParseSize(std::string_view text);
absl::StatusOr<Capacity> ParseCapacity(std::string_view text);

// The shortest of the above that is exact: `12GiB`, `1536MiB`, `12345`.
std::string SizeText(uint64_t bytes);
std::string CapacityText(const Capacity& capacity);

// For people: `11.7 GiB`.
std::string HumanSize(uint64_t bytes);

// `500ms`, `5s`, `2min`, `1h`.
absl::StatusOr<base::Duration> ParseDuration(std::string_view text);
std::string DurationText(base::Duration duration);

// The same, or `forever`, which is Duration::max().
absl::StatusOr<base::Duration> ParseKeepAlive(std::string_view text);
std::string KeepAliveText(base::Duration duration);

}  // namespace modeld::app
