// A line of the log: as text, in which form it also travels through spdlog, and as JSON. Pure.
//
//   msg="agent died" pid=7 why="killed by 9"
//   {"msg":"agent died","pid":"7","why":"killed by 9"}

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace modeld::base {

using LogFields = std::vector<std::pair<std::string_view, std::string>>;
using ParsedLogFields = std::vector<std::pair<std::string, std::string>>;

// `2026-01-31T08:15:00.123Z`
std::string LogTime(WallTime time);

// In quotes: `"` and `\` behind a `\`, a line's end as `\n`, other control characters as `\x1b`.
std::string QuotedLogValue(std::string_view value);
// In quotes where it needs them: `/a/b`, `"/a b"`, `""`.
std::string LogValue(std::string_view value);

// `msg="..." key=value ...`, the message always in quotes.
std::string LogText(std::string_view message, const LogFields& fields);
// Is it a LogText already, or a message? By its beginning.
bool IsLogText(std::string_view text);

// The fields of a LogText, `msg` first. nullopt: it is none, or a key comes twice.
std::optional<ParsedLogFields> ParseLogText(std::string_view text);

// One JSON object without the line's end: `head`, then the fields of `text`; what is no LogText, or
// has a key of `head`, is the message as a whole. Every value is a string, whatever it looks like,
// so that a key has one type for ever. Bytes that are not UTF-8 become U+FFFD.
std::string JsonLogLine(const LogFields& head, std::string_view text);

}  // namespace modeld::base
