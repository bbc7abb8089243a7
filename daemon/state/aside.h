// Damaged files are kept, for whoever wants to know what was in them.

#pragma once

#include <string>

namespace modeld::state {

inline constexpr int kMaxKeptAside = 3;

// `PATH.damaged-1`
std::string AsidePath(const std::string& path, int number);

// Keeps what is at `path` as AsidePath(path, 1) too: it is the newest, those that are there become
// 2 and 3, and the oldest goes. Does nothing where it is kept already. Returns 0 or an errno.
int PutAside(const std::string& path);

}  // namespace modeld::state
