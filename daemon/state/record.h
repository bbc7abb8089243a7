// What a line of the journal says.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "residency/durable_state.h"

namespace modeld::state {

// Of what is written. A file with a greater one is left alone.
inline constexpr uint64_t kFormatVersion = 1;

// The first record of every file.
struct Header {
  uint64_t version = kFormatVersion;
};

using Record = std::variant<Header, residency::SetAlias, residency::RemoveAlias, residency::SetPin,
                            residency::RemovePin, residency::Event>;

Record ToRecord(residency::StateChange change);

// JSON in one line, as docs/state-file.md describes it. Every field comes back exactly.
std::string EncodeRecord(const Record& record);
// nullopt: no record that this version knows. Members that it does not know are passed over.
std::optional<Record> DecodeRecord(std::string_view text);

}  // namespace modeld::state
