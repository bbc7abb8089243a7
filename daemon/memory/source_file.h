// Reading a checkpoint file past the page cache, or out of it.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plan/open_checkpoint.h"
#include "wire/unique_fd.h"

namespace modeld::memory {

// File offset, memory address and length of a direct read are multiples of this, in bytes.
inline constexpr uint64_t kDirectAlignmentBytes = 4096;

// Asked between reads; false ends the reading with CANCELLED.
using KeepGoing = std::function<bool()>;

// What an open file is now.
absl::StatusOr<plan::FileIdentity> IdentityOf(int fd);

// An open file as the pipeline reads it. Thread-safe. Borrows `file`, which must outlive it.
//
// Errors name the file and the byte: kCheckpointChanged when the file ends too early, kReadFailed
// for what the system says, CANCELLED.
class SourceFile {
 public:
  explicit SourceFile(const plan::OpenFile& file);

  // Is a direct read of these bytes what is fast? False for memory and network file systems, for
  // files that cannot be read directly, and for what lies in the page cache.
  bool PreferDirect(uint64_t offset, uint64_t size_bytes) const;

  // Through the page cache.
  absl::Status ReadBuffered(uint64_t offset, std::span<std::byte> out,
                            const KeepGoing& keep_going) const;

  // Past it, and through it where the file system refuses after all. Only the first `needed_bytes`
  // have to be there: the rest of `out` may lie past the end of the file. REQUIRES: alignment as
  // above, needed_bytes <= out.size().
  absl::Status ReadDirect(uint64_t offset, std::span<std::byte> out, uint64_t needed_bytes,
                          const KeepGoing& keep_going) const;

  const plan::OpenFile& file() const { return file_; }

  // kCheckpointChanged when the file is not what it was when it was found.
  absl::Status CheckUnchanged() const;

 private:
  absl::Status Read(int fd, uint64_t offset, std::span<std::byte> out, uint64_t needed_bytes,
                    uint64_t alignment, const KeepGoing& keep_going, bool& refused) const;
  absl::Status EndsTooEarly(uint64_t offset) const;

  const plan::OpenFile& file_;
  wire::UniqueFd buffered_fd_;  // own description, so that advice harms nobody else; may be absent
  wire::UniqueFd direct_fd_;    // absent where direct reads make no sense
  mutable std::atomic<bool> direct_ok_{false};
};

}  // namespace modeld::memory
