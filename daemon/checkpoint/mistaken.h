// Files that are no model, whatever they are called: what a download or a checkout left instead.

#pragma once

#include <cstddef>
#include <span>

namespace modeld::checkpoint {

// What a file that begins like this is, with what to do about it; empty: nothing that is known.
// Whole files of a few bytes may be told, too. Never of a format that modeld reads.
const char* MistakenForModel(std::span<const std::byte> start);

}  // namespace modeld::checkpoint
