#include "modelctl/duration.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace modeld::modelctl {
namespace {

constexpr char kForever[] = "forever";

}  // namespace

absl::StatusOr<std::chrono::nanoseconds> ParseDuration(const std::string& text) {
  absl::Duration duration;
  const absl::Duration limit = absl::Hours(100 * 365 * 24);
  if (!absl::ParseDuration(text, &duration) || duration > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a duration: write 500ms, 10s or 2m"));
  }
  if (duration < absl::Nanoseconds(1)) {
    return absl::InvalidArgumentError(absl::StrCat("a duration must be more than 0, not ", text));
  }
  return absl::ToChronoNanoseconds(duration);
}

absl::StatusOr<std::chrono::nanoseconds> ParseKeepAlive(const std::string& text) {
  if (text == kForever) return std::chrono::nanoseconds(std::chrono::seconds(-1));
  absl::Duration duration;
  if (absl::ParseDuration(text, &duration) && duration == absl::ZeroDuration()) {
    return std::chrono::nanoseconds(0);
  }
  const auto parsed = ParseDuration(text);
  if (parsed.ok()) return parsed;
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no keep-alive: write 10m, 0 or forever"));
}

std::string KeepAliveText(std::chrono::nanoseconds keep_alive) {
  return keep_alive.count() < 0 ? kForever : DurationText(keep_alive);
}

std::string DurationText(std::chrono::nanoseconds duration) {
  if (duration.count() == 0) return "0s";
  static constexpr std::array<std::pair<int64_t, const char*>, 5> kUnits = {
      {{60'000'000'000, "m"}, {1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}, {1, "ns"}}};
  for (const auto& [nanos, unit] : kUnits) {
    if (duration.count() % nanos == 0) return absl::StrCat(duration.count() / nanos, unit);
  }
  return absl::StrCat(duration.count(), "ns");
}

}  // namespace modeld::modelctl
