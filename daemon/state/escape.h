// Bytes as JSON can say them: its strings are UTF-8, and paths need not be.

#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace modeld::state {

// UTF-8 stays as it is but for `%`, which becomes `%25`. Of anything else every byte from 0x80 on
// becomes `%` and two upper-case hexadecimal digits too. The result is UTF-8.
std::string Escape(std::string_view bytes);

// The bytes again. nullopt: a `%` without two such digits.
std::optional<std::string> Unescape(std::string_view text);

}  // namespace modeld::state
