// What libmodeld throws.

#pragma once

#include <map>
#include <stdexcept>
#include <string>

#include "modeld/export.h"

namespace modeld {

// The coarse kind of an error. Programs that need to know more look at Error::reason().
enum class ErrorCode {
  kInvalidArgument,
  kNotFound,
  kPermissionDenied,
  kFailedPrecondition,
  kResourceExhausted,  // no capacity, no memory, no descriptors
  kDeadlineExceeded,
  kUnavailable,  // no daemon, or it went away
  kDataLoss,     // the daemon sent something that cannot be right
  kCancelled,
  kInternal,
};

// The one exception of the public API. what() is a sentence that names the file, tensor or socket
// at fault and ends with the next useful step (the hint).
class MODELD_EXPORT Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string reason, const std::string& message,
        std::map<std::string, std::string> metadata = {}, std::string hint = {});

  ErrorCode code() const noexcept { return code_; }
  // Stable, upper snake case, listed in docs/errors.md: `CHECKPOINT_NOT_FOUND`; those that the
  // library itself adds are in docs/client.md: `DAEMON_UNREACHABLE`, `PROCESS_FORKED`,
  // `TENSOR_NOT_FOUND`, `PROTOCOL_VIOLATION`.
  const std::string& reason() const noexcept { return reason_; }
  // What the message speaks of: `file`, `tensor`, `needed_bytes`, ...
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  // The next useful command or step; part of what() already. May be empty.
  const std::string& hint() const noexcept { return hint_; }

 private:
  ErrorCode code_;
  std::string reason_;
  std::map<std::string, std::string> metadata_;
  std::string hint_;
};

}  // namespace modeld
