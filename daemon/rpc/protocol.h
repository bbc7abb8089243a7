// Numbers of the contract.

#pragma once

#include <cstdint>

namespace modeld::rpc {

// Of proto/modeld/v1, as Welcome and GetServerInfo tell it.
inline constexpr uint32_t kProtocolVersion = 1;

// Metadata key under which calls carry their session id.
inline constexpr char kSessionMetadataKey[] = "modeld-session-bin";

}  // namespace modeld::rpc
