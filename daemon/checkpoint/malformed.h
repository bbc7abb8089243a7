// How a reader of checkpoints says no.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace modeld::checkpoint {

// CHECKPOINT_MALFORMED with metadata `file`, `byte` (offset in the file of what is wrong) and
// `tensor`, if it is known. `hint` empty: the one that suits a damaged file.
absl::Status Malformed(const std::string& path, uint64_t byte, const std::string& what,
                       std::string_view tensor = {}, const std::string& hint = {});

// A name from a file, fit for a message: quoted, control characters escaped, cut to a readable
// length.
std::string Quoted(std::string_view name);

// Where UTF-8 stops being UTF-8. REQUIRES: it does.
size_t FirstInvalidUtf8(std::string_view text);

}  // namespace modeld::checkpoint
