#include "status.h"

#include "modeld/error.h"
#include "modeld/v1/error.pb.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

ErrorCode CodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:  // a format, a device: nothing that waiting mends
      return ErrorCode::kInvalidArgument;
    case absl::StatusCode::kNotFound:
      return ErrorCode::kNotFound;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return ErrorCode::kPermissionDenied;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return ErrorCode::kFailedPrecondition;
    case absl::StatusCode::kResourceExhausted:
      return ErrorCode::kResourceExhausted;
    case absl::StatusCode::kDeadlineExceeded:
      return ErrorCode::kDeadlineExceeded;
    case absl::StatusCode::kUnavailable:
      return ErrorCode::kUnavailable;
    case absl::StatusCode::kDataLoss:
      return ErrorCode::kDataLoss;
    case absl::StatusCode::kCancelled:
      return ErrorCode::kCancelled;
    default:
      return ErrorCode::kInternal;
  }
}

// For a status that came without a detail.
std::string_view ReasonFor(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return kDaemonUnreachable;
    case absl::StatusCode::kDataLoss:
      return kProtocolViolation;
    case absl::StatusCode::kInvalidArgument:
      return wire::ReasonName(wire::Reason::kFieldInvalid);
    case absl::StatusCode::kPermissionDenied:
      return wire::ReasonName(wire::Reason::kPeerNotAllowed);
    case absl::StatusCode::kDeadlineExceeded:
      return wire::ReasonName(wire::Reason::kDeadlineExceeded);
    case absl::StatusCode::kCancelled:
      return wire::ReasonName(wire::Reason::kCancelled);
    default:
      return wire::ReasonName(wire::Reason::kInternal);
  }
}

}  // namespace

absl::Status ClientError(absl::StatusCode code, std::string_view reason, std::string_view message,
                         std::string_view hint, wire::ErrorMetadata metadata) {
  v1::ErrorDetail detail;
  detail.set_reason(std::string(reason));
  detail.set_hint(std::string(hint));
  for (auto& [key, value] : metadata) (*detail.mutable_metadata())[key] = std::move(value);
  return wire::StatusFromParts(static_cast<int>(code), message, detail.SerializeAsString());
}

absl::Status ProtocolViolation(std::string_view message) {
  return ClientError(absl::StatusCode::kDataLoss, kProtocolViolation,
                     wire::StrCat("modeld sent something that cannot be right: ", message),
                     "compare `modelctl version` with the version of libmodeld");
}

absl::Status ForkedError() {
  return ClientError(
      absl::StatusCode::kFailedPrecondition, kProcessForked,
      "this process was forked from one that is connected to modeld, and neither that "
      "connection nor gRPC's threads survive a fork",
      "start workers with spawn or forkserver, or connect in the children only");
}

void Throw(const absl::Status& status) {
  wire::ErrorInfo info = wire::GetErrorInfo(status);
  if (info.reason_name.empty()) info.reason_name = ReasonFor(status.code());
  throw Error(CodeOf(status.code()), std::move(info.reason_name),
              std::string(wire::ToStd(status.message())), std::move(info.metadata),
              std::move(info.hint));
}

}  // namespace modeld::client
