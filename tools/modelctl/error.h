// How a verb fails: a status, the words for it, and the exit code that programs see.

#pragma once

#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace modeld::modelctl {

// docs/errors.md has them in one table with the reasons.
enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kUnreachable = 3,
  kNotFound = 4,
  kRefused = 5,  // leased, pinned, not permitted
  kNoCapacity = 6,
  kTimedOut = 7,
  kInterrupted = 130,
};

// The reason decides where there is one that this build knows, the code where there is none:
// DEVICE_UNAVAILABLE and a daemon that nobody reaches are both UNAVAILABLE.
ExitCode ToExitCode(absl::StatusCode code, std::string_view reason);
ExitCode ToExitCode(const absl::Status& status);

// What the call ended with, its detail included.
absl::Status FromGrpc(const grpc::Status& status);

// An error of modelctl's own: no reason, but what to do next. A command in `hint` is written as it
// is typed.
absl::Status ErrorWithHint(absl::StatusCode code, std::string_view message, std::string_view hint);
// The same error with another hint if it has none.
absl::Status WithHint(const absl::Status& status, std::string_view hint);

// `modelctl: MESSAGE`, and `  next: HINT` on a second line; each ends with a line feed. What a peer
// wrote is made safe to print. An error that brings no hint gets the one for its exit code.
std::string ErrorText(const absl::Status& status);

}  // namespace modeld::modelctl
