// Text for people: sizes, ages, and strings from elsewhere made safe and as wide as they look.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "google/protobuf/timestamp.pb.h"

namespace modeld::modelctl {

// `512 B`, `86.7 MiB`, `4.0 GiB`
std::string HumanBytes(uint64_t bytes);

// `12s`, `5m03s`, `2h05m`, `3d04h`. A negative age (clocks differ) is `0s`.
std::string HumanAge(std::chrono::seconds age);

// The age of a moment, how far it is away, and the moment in RFC 3339; `-` where it is unset
// (seconds and nanos 0).
std::string Age(const google::protobuf::Timestamp& time, std::chrono::system_clock::time_point now);
// `in 4m59s`, or `now` where it is over.
std::string Until(const google::protobuf::Timestamp& time,
                  std::chrono::system_clock::time_point now);
std::string Rfc3339(const google::protobuf::Timestamp& time);

// The text with whatever could steer a terminal, and bytes that are no UTF-8, as `\xNN`.
// References, scopes, tensor names and program names are chosen by others: they go through here
// before a person sees them.
std::string Printable(std::string_view text);

// Columns that a terminal uses for it: 0 for combining marks, 2 for East Asian wide characters.
// REQUIRES: valid UTF-8.
size_t DisplayWidth(std::string_view text);

// At most `width` columns, with `…` in place of the middle, where references differ least.
// REQUIRES: valid UTF-8.
std::string TruncateMiddle(std::string_view text, size_t width);

}  // namespace modeld::modelctl
