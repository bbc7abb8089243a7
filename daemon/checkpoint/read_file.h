// Reading parts of files that may shrink meanwhile.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "checkpoint/format.h"

namespace modeld::checkpoint {

// Fills `bytes` from `offset` on. kReadFailed; kCheckpointChanged where the file ends before that.
absl::Status ReadFully(const InputFile& file, uint64_t offset, std::span<std::byte> bytes);

}  // namespace modeld::checkpoint
