#include "modelctl/error.h"

#include <absl/strings/string_view.h>

#include "modelctl/text.h"
#include "modeld/v1/error.pb.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::modelctl {
namespace {

ExitCode ByReason(wire::Reason reason) {
  switch (reason) {
    case wire::Reason::kFieldInvalid:
      return kUsage;
    case wire::Reason::kCheckpointNotFound:
    case wire::Reason::kResidencyNotFound:
    case wire::Reason::kAliasNotFound:
      return kNotFound;
    case wire::Reason::kPathNotAllowed:
    case wire::Reason::kPeerNotAllowed:
    case wire::Reason::kResidencyLeased:
    case wire::Reason::kResidencyPinned:
      return kRefused;
    case wire::Reason::kBudgetExceeded:
    case wire::Reason::kLimitReached:
      return kNoCapacity;
    case wire::Reason::kDeadlineExceeded:
      return kTimedOut;
    case wire::Reason::kCancelled:
      return kInterrupted;
    case wire::Reason::kSessionInvalid:
    case wire::Reason::kDraining:
    case wire::Reason::kCheckpointMalformed:
    case wire::Reason::kCheckpointChanged:
    case wire::Reason::kFormatUnsupported:
    case wire::Reason::kDigestMismatch:
    case wire::Reason::kDeviceUnavailable:
    case wire::Reason::kDeviceLost:
    case wire::Reason::kReadFailed:
    case wire::Reason::kStateNotSaved:
    case wire::Reason::kInternal:
    case wire::Reason::kUnknown:
      return kFailed;
  }
  return kFailed;
}

ExitCode ByCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return kDone;
    case absl::StatusCode::kInvalidArgument:
      return kUsage;
    case absl::StatusCode::kUnavailable:
      return kUnreachable;
    case absl::StatusCode::kNotFound:
      return kNotFound;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kFailedPrecondition:
      return kRefused;
    case absl::StatusCode::kResourceExhausted:
      return kNoCapacity;
    case absl::StatusCode::kDeadlineExceeded:
      return kTimedOut;
    default:
      return kFailed;
  }
}

const char* DefaultHint(ExitCode code) {
  switch (code) {
    case kUsage:
      return "modelctl --help";
    case kUnreachable:
      return "modelctl health";
    case kNotFound:
      return "see what is resident: modelctl ps";
    case kRefused:
      return "see who holds what: modelctl leases";
    case kNoCapacity:
      return "see where the bytes are: modelctl devices; modelctl ps";
    case kTimedOut:
      return "allow more time with --timeout, or see how far it is: modelctl ps";
    default:
      return "see what happened: modelctl events --history 20";
  }
}

}  // namespace

ExitCode ToExitCode(absl::StatusCode code, std::string_view reason) {
  if (code == absl::StatusCode::kOk) return kDone;
  const wire::Reason known = wire::ReasonFromName(reason);
  return known != wire::Reason::kUnknown ? ByReason(known) : ByCode(code);
}

ExitCode ToExitCode(const absl::Status& status) {
  return ToExitCode(status.code(), wire::GetErrorInfo(status).reason_name);
}

absl::Status FromGrpc(const grpc::Status& status) {
  return wire::StatusFromParts(status.error_code(), status.error_message(), status.error_details());
}

absl::Status ErrorWithHint(absl::StatusCode code, std::string_view message, std::string_view hint) {
  v1::ErrorDetail detail;
  detail.set_hint(wire::ToUtf8(hint));
  return wire::StatusFromParts(static_cast<int>(code), message, detail.SerializeAsString());
}

absl::Status WithHint(const absl::Status& status, std::string_view hint) {
  const wire::ErrorInfo info = wire::GetErrorInfo(status);
  if (status.ok() || !info.hint.empty()) return status;
  v1::ErrorDetail detail;
  detail.set_reason(info.reason_name);
  detail.mutable_metadata()->insert(info.metadata.begin(), info.metadata.end());
  detail.set_hint(wire::ToUtf8(hint));
  return wire::StatusFromParts(static_cast<int>(status.code()), wire::ToStd(status.message()),
                               detail.SerializeAsString());
}

std::string ErrorText(const absl::Status& status) {
  const wire::ErrorInfo info = wire::GetErrorInfo(status);
  const std::string hint = info.hint.empty() ? DefaultHint(ToExitCode(status)) : info.hint;
  const std::string message = status.message().empty() ? absl::StatusCodeToString(status.code())
                                                       : std::string(status.message());
  return wire::StrCat("modelctl: ", Printable(message), "\n  next: ", Printable(hint), "\n");
}

}  // namespace modeld::modelctl
