// Values as TOML. Pure.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modeld::app {

// A basic string: `"a \"b\""`
std::string Quoted(std::string_view text);
// `["a", "b"]`
std::string QuotedList(const std::vector<std::string>& texts);

}  // namespace modeld::app
