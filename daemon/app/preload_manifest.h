// [[preload]] in modeld.toml: what shall be resident from the start. What an entry may say, and its
// text; preloader.h loads it.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "app/raw_value.h"
#include "base/clock.h"
#include "residency/types.h"

namespace modeld::app {

inline constexpr std::string_view kPreloadTable = "preload";

struct Preload {
  residency::ModelSpec spec;  // its device as DeviceOf takes it
  bool pin = false;
  std::string alias;                         // empty: none
  std::optional<base::Duration> keep_alive;  // residency::kForever; nullopt: as for others
};

// Do they say the same?
bool operator==(const Preload& a, const Preload& b);

// The keys that an entry may have.
std::span<const std::string_view> PreloadKeys();

// What the tables say, all of whose keys are among PreloadKeys. INVALID_ARGUMENT names line and
// column.
absl::StatusOr<std::vector<Preload>> ParsePreloads(const std::vector<RawTable>& tables);

// The entry as TOML, lines of what is not as it is by default. Reading it gives the same.
std::string PreloadText(const Preload& preload);

// Every key with its meaning, commented out: the end of deploy/config/modeld.toml.
std::string PreloadHelp();

// `host` for `host`, the UUID for `cuda:N` and `GPU-...`. `gpus` are UUIDs in the order in which
// `cuda:N` counts. kDeviceUnavailable: there is no such one.
absl::StatusOr<std::string> DeviceOf(const std::string& name, std::span<const std::string> gpus);

}  // namespace modeld::app
