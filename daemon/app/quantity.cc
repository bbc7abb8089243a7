#include "app/quantity.h"

#include <cmath>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};

constexpr Unit kSizes[] = {
    {"TiB", uint64_t{1} << 40},
    {"GiB", uint64_t{1} << 30},
    {"MiB", uint64_t{1} << 20},
    {"KiB", uint64_t{1} << 10},
    {"TB", 1'000'000'000'000},
    {"GB", 1'000'000'000},
    {"MB", 1'000'000},
    {"kB", 1'000},
    {"B", 1},
    {"", 1},
};

constexpr std::string_view kForeverWord = "forever";

constexpr Unit kDurations[] = {
    {"h", 3'600'000'000'000},
    {"min", 60'000'000'000},
    {"s", 1'000'000'000},
    {"ms", 1'000'000},
};

// A number and what follows it.
struct Quantity {
  double number;
  std::string_view number_text;
  std::string_view unit;
};

std::optional<Quantity> Split(std::string_view text) {
  text = wire::ToStd(absl::StripAsciiWhitespace(wire::ToAbsl(text)));
  const size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  Quantity quantity{.number = 0, .number_text = text.substr(0, end), .unit = {}};
  quantity.unit = wire::ToStd(absl::StripLeadingAsciiWhitespace(wire::ToAbsl(text.substr(end))));
  if (!absl::SimpleAtod(wire::ToAbsl(quantity.number_text), &quantity.number) ||
      !std::isfinite(quantity.number)) {
    return std::nullopt;
  }
  return quantity;
}

template <size_t kCount>
const Unit* Find(const Unit (&units)[kCount], std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

// number * factor, exactly where the number is whole. nullopt: out of range.
std::optional<uint64_t> Scale(const Quantity& quantity, uint64_t factor) {
  uint64_t whole = 0;
  if (absl::SimpleAtoi(wire::ToAbsl(quantity.number_text), &whole)) {
    uint64_t product = 0;
    if (__builtin_mul_overflow(whole, factor, &product)) return std::nullopt;
    return product;
  }
  const double product = quantity.number * static_cast<double>(factor);
  if (product >= 0x1p63) return std::nullopt;
  return static_cast<uint64_t>(std::llround(product));
}

absl::Status BadSize(std::string_view text) {
  return absl::InvalidArgumentError(wire::StrCat(
      "`", text, "` is not a size: write a number and a unit, such as `512MiB` or `12GiB`"));
}

}  // namespace

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  const auto quantity = Split(text);
  const Unit* const unit = quantity ? Find(kSizes, quantity->unit) : nullptr;
  if (unit == nullptr) return BadSize(text);
  const auto bytes = Scale(*quantity, unit->factor);
  if (!bytes) return absl::InvalidArgumentError(wire::StrCat("`", text, "` is too much"));
  return *bytes;
}

absl::StatusOr<Capacity> ParseCapacity(std::string_view text) {
  const auto quantity = Split(text);
  if (quantity && quantity->unit == "%") {
    if (quantity->number <= 0 || quantity->number > 100) {
      return absl::InvalidArgumentError(
          wire::StrCat("`", text, "` is not more than 0% and at most 100%"));
    }
    return Capacity{.bytes = 0, .percent = quantity->number};
  }
  const auto bytes = ParseSize(text);
  if (!bytes.ok()) {
    return absl::InvalidArgumentError(
        wire::StrCat(wire::ToStd(bytes.status().message()), ", or a part of the memory: `75%`"));
  }
  if (*bytes == 0) return absl::InvalidArgumentError("a capacity of 0 bytes holds nothing");
  return Capacity{.bytes = *bytes, .percent = 0};
}

std::string SizeText(uint64_t bytes) {
  if (bytes == 0) return "0";
  for (const Unit& unit : kSizes) {
    if (!unit.name.ends_with("iB")) break;
    if (bytes % unit.factor == 0) return wire::StrCat(bytes / unit.factor, unit.name);
  }
  return wire::StrCat(bytes);
}

std::string CapacityText(const Capacity& capacity) {
  if (capacity.percent == 0) return SizeText(capacity.bytes);
  return wire::StrCat(capacity.percent, "%");
}

std::string HumanSize(uint64_t bytes) {
  for (const Unit& unit : kSizes) {
    if (!unit.name.ends_with("iB")) break;
    if (bytes >= unit.factor) {
      return absl::StrFormat("%.1f %s",
                             static_cast<double>(bytes) / static_cast<double>(unit.factor),
                             std::string(unit.name));
    }
  }
  return wire::StrCat(bytes, " B");
}

absl::StatusOr<base::Duration> ParseDuration(std::string_view text) {
  const auto quantity = Split(text);
  const Unit* const unit = quantity ? Find(kDurations, quantity->unit) : nullptr;
  if (unit == nullptr) {
    return absl::InvalidArgumentError(wire::StrCat(
        "`", text,
        "` is not a duration: write a number and a unit, such as `500ms`, `5s` or `2min`"));
  }
  const auto nanos = Scale(*quantity, unit->factor);
  constexpr uint64_t kMostNanos = uint64_t{365} * 24 * 3'600'000'000'000;
  if (!nanos || *nanos > kMostNanos) {
    return absl::InvalidArgumentError(wire::StrCat("`", text, "` is too long"));
  }
  return base::Duration(static_cast<int64_t>(*nanos));
}

std::string DurationText(base::Duration duration) {
  const auto nanos = static_cast<uint64_t>(duration.count());
  if (nanos == 0) return "0s";
  for (const Unit& unit : kDurations) {
    if (nanos % unit.factor == 0) return wire::StrCat(nanos / unit.factor, unit.name);
  }
  return absl::StrFormat("%.6fms", static_cast<double>(nanos) / 1e6);
}

absl::StatusOr<base::Duration> ParseKeepAlive(std::string_view text) {
  if (text == kForeverWord) return base::Duration::max();
  const auto duration = ParseDuration(text);
  if (duration.ok()) return duration;
  return absl::InvalidArgumentError(
      wire::StrCat(wire::ToStd(duration.status().message()), ", or `", kForeverWord, "`"));
}

std::string KeepAliveText(base::Duration duration) {
  return duration == base::Duration::max() ? std::string(kForeverWord) : DurationText(duration);
}

}  // namespace modeld::app
