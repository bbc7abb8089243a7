// A line of the journal: a record's text behind its checksum.

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace modeld::state {

// Longer ones are neither written nor read.
inline constexpr size_t kMaxLineBytes = 1 << 20;

// 16 lower-case hexadecimal digits of the text's XXH3-64, a blank, the text, a line feed. The text
// has no line feed.
std::string MakeLine(std::string_view text);

// The text of a line without its line feed; nullopt: it is not what was written. The view points
// into `line`.
std::optional<std::string_view> TextOf(std::string_view line);

// Splits a damaged line wherever a line seems to begin in it: a damaged line feed joins two that
// are sound themselves. The byte before each of them is the line feed that was, and left out.
std::vector<std::string_view> SplitJoined(std::string_view line);

}  // namespace modeld::state
