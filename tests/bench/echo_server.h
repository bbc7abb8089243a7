// What attaching is held against: gRPC over the same kind of socket, and nothing else.

#pragma once

#include <memory>
#include <string>

#include "base/child_process.h"
#include "modeld/v1/residency_service.grpc.pb.h"

namespace modeld::bench {

// Serves GetServerInfo with an empty reply and Acquire with one empty update, by gRPC's callback
// API, until stdin ends.
[[noreturn]] void ServeEcho(const std::string& socket_path);

// Calls it. Externally synchronised.
class EchoClient {
 public:
  explicit EchoClient(const std::string& socket_path);

  // A unary call; ends the program if it fails.
  void Echo();
  // A streaming call: the first message, then cancelled, and its end is waited for.
  void OpenAndCancel();

 private:
  std::unique_ptr<v1::ResidencyService::Stub> stub_;
};

}  // namespace modeld::bench
