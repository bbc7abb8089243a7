#include "wire/error.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <string.h>

#include <algorithm>

#include "absl/strings/cord.h"
#include "modeld/v1/error.pb.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::wire {
namespace {

constexpr char kDetailUrl[] = "type.googleapis.com/modeld.v1.ErrorDetail";

struct ReasonRow {
  Reason reason;
  std::string_view name;
  absl::StatusCode code;
};

constexpr ReasonRow kReasonRows[] = {
    {Reason::kFieldInvalid, "FIELD_INVALID", absl::StatusCode::kInvalidArgument},
    {Reason::kCheckpointNotFound, "CHECKPOINT_NOT_FOUND", absl::StatusCode::kNotFound},
    {Reason::kCheckpointMalformed, "CHECKPOINT_MALFORMED", absl::StatusCode::kInvalidArgument},
    {Reason::kCheckpointChanged, "CHECKPOINT_CHANGED", absl::StatusCode::kAborted},
    {Reason::kFormatUnsupported, "FORMAT_UNSUPPORTED", absl::StatusCode::kUnimplemented},
    {Reason::kPathNotAllowed, "PATH_NOT_ALLOWED", absl::StatusCode::kPermissionDenied},
    {Reason::kPeerNotAllowed, "PEER_NOT_ALLOWED", absl::StatusCode::kPermissionDenied},
    {Reason::kSessionInvalid, "SESSION_INVALID", absl::StatusCode::kUnauthenticated},
    {Reason::kBudgetExceeded, "BUDGET_EXCEEDED", absl::StatusCode::kResourceExhausted},
    {Reason::kResidencyLeased, "RESIDENCY_LEASED", absl::StatusCode::kFailedPrecondition},
    {Reason::kResidencyPinned, "RESIDENCY_PINNED", absl::StatusCode::kFailedPrecondition},
    {Reason::kResidencyNotFound, "RESIDENCY_NOT_FOUND", absl::StatusCode::kNotFound},
    {Reason::kAliasNotFound, "ALIAS_NOT_FOUND", absl::StatusCode::kNotFound},
    {Reason::kDigestMismatch, "DIGEST_MISMATCH", absl::StatusCode::kDataLoss},
    {Reason::kDeviceUnavailable, "DEVICE_UNAVAILABLE", absl::StatusCode::kUnavailable},
    {Reason::kDeviceLost, "DEVICE_LOST", absl::StatusCode::kUnavailable},
    {Reason::kDraining, "DRAINING", absl::StatusCode::kUnavailable},
    {Reason::kDeadlineExceeded, "DEADLINE_EXCEEDED", absl::StatusCode::kDeadlineExceeded},
    {Reason::kCancelled, "CANCELLED", absl::StatusCode::kCancelled},
    // Nothing in the request is wrong, and asking again helps only after somebody has repaired the
    // disk or the permissions.
    {Reason::kReadFailed, "READ_FAILED", absl::StatusCode::kFailedPrecondition},
    {Reason::kStateNotSaved, "STATE_NOT_SAVED", absl::StatusCode::kFailedPrecondition},
    {Reason::kLimitReached, "LIMIT_REACHED", absl::StatusCode::kResourceExhausted},
    {Reason::kInternal, "INTERNAL", absl::StatusCode::kInternal},
};

const ReasonRow* Find(Reason reason) {
  const ReasonRow* row = std::ranges::find(kReasonRows, reason, &ReasonRow::reason);
  return row != std::end(kReasonRows) ? row : nullptr;
}

absl::StatusCode CodeFromInt(int code) {
  const bool known = code >= static_cast<int>(absl::StatusCode::kOk) &&
                     code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  return known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown;
}

// Maps have no order in Protobuf, and equal errors should compare equal.
std::string SerializeInOrder(const v1::ErrorDetail& detail) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    detail.SerializeToCodedStream(&coded);
  }
  return bytes;
}

}  // namespace

std::string_view ReasonName(Reason reason) {
  const ReasonRow* row = Find(reason);
  return row != nullptr ? row->name : "UNKNOWN";
}

Reason ReasonFromName(std::string_view name) {
  const ReasonRow* row = std::ranges::find(kReasonRows, name, &ReasonRow::name);
  return row != std::end(kReasonRows) ? row->reason : Reason::kUnknown;
}

absl::StatusCode ReasonCode(Reason reason) {
  const ReasonRow* row = Find(reason);
  return row != nullptr ? row->code : absl::StatusCode::kUnknown;
}

absl::Status MakeError(Reason reason, std::string_view message, ErrorMetadata metadata,
                       std::string_view hint) {
  v1::ErrorDetail detail;
  detail.set_reason(std::string(ReasonName(reason)));
  for (const auto& [key, value] : metadata) {
    (*detail.mutable_metadata())[ToUtf8(key)] = ToUtf8(value);
  }
  detail.set_hint(ToUtf8(hint));
  absl::Status status(ReasonCode(reason), ToUtf8(message));
  status.SetPayload(kDetailUrl, absl::Cord(SerializeInOrder(detail)));
  return status;
}

ErrorInfo GetErrorInfo(const absl::Status& status) {
  ErrorInfo info;
  v1::ErrorDetail detail;
  if (!detail.ParseFromString(SerializeDetail(status))) return info;
  info.reason = ReasonFromName(detail.reason());
  info.reason_name = detail.reason();
  info.metadata.insert(detail.metadata().begin(), detail.metadata().end());
  info.hint = detail.hint();
  return info;
}

Reason GetReason(const absl::Status& status) { return GetErrorInfo(status).reason; }

std::string SerializeDetail(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kDetailUrl);
  return payload ? std::string(*payload) : std::string();
}

absl::Status StatusFromParts(int code, std::string_view message,
                             std::string_view serialized_detail) {
  absl::Status status(CodeFromInt(code), ToAbsl(message));
  if (!status.ok() && !serialized_detail.empty()) {
    status.SetPayload(kDetailUrl, absl::Cord(ToAbsl(serialized_detail)));
  }
  return status;
}

std::string ErrnoText(int error) {
  const char* text = strerrordesc_np(error);
  return text != nullptr ? text : StrCat("error ", error);
}

}  // namespace modeld::wire
