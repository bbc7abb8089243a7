// The GPUs of this process.

#pragma once

#include <string>
#include <vector>

#include "cuda/failure.h"

namespace modeld::gpu {

// UUIDs by ordinal, `GPU-` and lower case. Read once: CUDA does not see devices come or go either.
// Makes no context. Thread-safe.
MaybeFailure GetUuids(std::vector<std::string>& uuids);

// `GPU-...`, or `cuda:N` where the UUID is not known: for messages.
std::string NameOf(int ordinal);

// Has this process a context on it? No once it is reset, or CUDA is shutting down.
bool HasContext(int ordinal);

}  // namespace modeld::gpu
