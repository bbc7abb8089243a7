// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.

#pragma once

#include <string>
#include <string_view>

namespace modeld::wire {

bool IsUtf8(std::string_view text);

// The text with every byte that is not part of valid UTF-8 replaced by U+FFFD: Protobuf refuses
// strings that are not UTF-8, and Linux paths need not be.
std::string ToUtf8(std::string_view text);

}  // namespace modeld::wire
