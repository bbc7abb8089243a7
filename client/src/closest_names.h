// "Did you mean": the names that are most like one that is not there.

#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace modeld::client {

// At most `limit` of the `count` names, the closest first; only such as resemble `name`. Linear in
// the names, so for error paths.
std::vector<std::string> ClosestNames(std::string_view name, size_t count,
                                      const std::function<std::string_view(size_t)>& name_at,
                                      size_t limit = 3);

}  // namespace modeld::client
