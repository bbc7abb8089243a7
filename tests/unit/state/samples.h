// Values to keep, and ways to look at what was kept.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "residency/durable_state.h"
#include "state/state_file.h"

namespace modeld::state {

base::WallTime At(int64_t nanos);

// Every field is something else than a default, and none of the bytes are spared.
residency::Alias FullAlias(std::string_view name);
residency::Event FullEvent(uint64_t sequence);
residency::Key FullKey(std::string_view content);

// A plain one that differs by its time.
residency::SetAlias SetAliasAt(std::string_view name, int64_t nanos, size_t extra_bytes = 0);
residency::Event PlainEvent(uint64_t sequence);

// All of a state, in an order: equal for equal states only.
std::vector<std::string> TextOf(const residency::DurableState& state);

// Fails the test where it cannot be opened.
std::unique_ptr<StateFile> OpenOrFail(const std::string& directory);
// What was there to read, or words for why not.
std::vector<std::string> StateIn(const std::string& directory);

absl::Status SaveAndWait(StateFile& file, residency::StateChange change);

std::string ReadAll(const std::string& path);

}  // namespace modeld::state
