// Between what the library works with (absl::Status with a reason) and what it throws
// (modeld::Error).

#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "wire/error.h"

namespace modeld::client {

// Reasons that the library itself gives, beside those of modeld; docs/client.md lists them.
inline constexpr std::string_view kDaemonUnreachable = "DAEMON_UNREACHABLE";
inline constexpr std::string_view kProcessForked = "PROCESS_FORKED";
inline constexpr std::string_view kTensorNotFound = "TENSOR_NOT_FOUND";
inline constexpr std::string_view kProtocolViolation = "PROTOCOL_VIOLATION";

// As wire::MakeError, with a reason of the library's own.
absl::Status ClientError(absl::StatusCode code, std::string_view reason, std::string_view message,
                         std::string_view hint = {}, wire::ErrorMetadata metadata = {});

// The daemon sent something that cannot be right.
absl::Status ProtocolViolation(std::string_view message);

// What this process is told when it uses in a forked child what belongs to its parent.
absl::Status ForkedError();

// REQUIRES: !status.ok()
[[noreturn]] void Throw(const absl::Status& status);

}  // namespace modeld::client
