// What a journal says, as far as it is sound.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "residency/durable_state.h"
#include "state/image.h"

namespace modeld::state {

// What lies beyond is not read: nothing that modeld writes is as large.
inline constexpr size_t kMaxFileBytes = 256 << 20;

struct JournalContents {
  residency::DurableState state;
  Image image;  // of `state`
  uint64_t read_bytes = 0;

  // A header with a version that this modeld does not know: then all the rest is as of an empty
  // journal.
  std::optional<uint64_t> newer_version;
  bool has_header = false;
  size_t damaged_lines = 0;
  bool torn_tail = false;  // what follows the last line feed: an append that a crash cut short
  bool too_large = false;  // there is more behind kMaxFileBytes

  bool IsDamaged() const { return damaged_lines > 0 || too_large || newer_version.has_value(); }
  // May another line follow?
  bool IsWhole() const { return has_header && !IsDamaged() && !torn_tail; }
};

// Reads from the start. A line that is damaged costs itself only. An error: the errno of a read.
absl::StatusOr<JournalContents> ReadJournal(int fd);

}  // namespace modeld::state
