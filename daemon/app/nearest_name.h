// What somebody may have meant. Pure.

#pragma once

#include <span>
#include <string_view>

namespace modeld::app {

// The one of `names` that is most like `name`; empty if none is.
std::string_view NearestName(std::string_view name, std::span<const std::string_view> names);

}  // namespace modeld::app
