// Errors as the domain speaks of them: an absl::Status with a stable reason, metadata and a hint.
//
// The reason, not the status code, is what programs look at; docs/errors.md lists reason, gRPC code
// and exit code in one table. The payload that carries them is the serialized
// modeld.v1.ErrorDetail.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace modeld::wire {

enum class Reason {
  kUnknown,  // a status that carries none
  kFieldInvalid,
  kCheckpointNotFound,
  kCheckpointMalformed,
  kCheckpointChanged,
  kFormatUnsupported,
  kPathNotAllowed,
  kPeerNotAllowed,
  kSessionInvalid,
  kBudgetExceeded,
  kResidencyLeased,
  kResidencyPinned,
  kResidencyNotFound,
  kAliasNotFound,
  kDigestMismatch,
  kDeviceUnavailable,
  kDeviceLost,
  kDraining,
  kDeadlineExceeded,
  kCancelled,
  kReadFailed,     // the file could not be read: an I/O error, permission
  kStateNotSaved,  // the state directory does not take it: full, read-only, an I/O error
  kLimitReached,   // descriptors, processes or threads: what no device's capacity counts
  kInternal,
};

// `CHECKPOINT_NOT_FOUND`
std::string_view ReasonName(Reason reason);
Reason ReasonFromName(std::string_view name);
// The one table from reason to status code.
absl::StatusCode ReasonCode(Reason reason);

using ErrorMetadata = std::map<std::string, std::string>;

// `message` names the file, tensor or holder at fault; `hint` is the next useful command or step.
absl::Status MakeError(Reason reason, std::string_view message, ErrorMetadata metadata = {},
                       std::string_view hint = {});

struct ErrorInfo {
  Reason reason = Reason::kUnknown;
  std::string reason_name;  // as it came, also when this build does not know it
  ErrorMetadata metadata;
  std::string hint;
};

// What MakeError put in; kUnknown for any other status.
ErrorInfo GetErrorInfo(const absl::Status& status);
Reason GetReason(const absl::Status& status);

// The serialized modeld.v1.ErrorDetail of a status (empty if it has none), and the way back: for
// the seams to gRPC, the agent and the attach socket.
std::string SerializeDetail(const absl::Status& status);
absl::Status StatusFromParts(int code, std::string_view message,
                             std::string_view serialized_detail);

// `errno` as a status: kReadFailed/kCheckpointNotFound/... are chosen by the caller.
std::string ErrnoText(int error);

}  // namespace modeld::wire
