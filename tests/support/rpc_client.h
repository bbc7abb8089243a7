// The contract spoken plainly: for tests of the daemon that shall not depend on libmodeld.

#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "modeld/v1/admin_service.grpc.pb.h"
#include "modeld/v1/residency_service.grpc.pb.h"
#include "wire/error.h"

namespace modeld::test {

// A connection to one socket of a daemon; admin.sock answers both services. Each client has a
// channel of its own. Thread-safe. Each of its calls ends within 75 s, whatever the daemon does:
// DEADLINE_EXCEEDED of gRPC, without a reason.
class RpcClient {
 public:
  explicit RpcClient(const std::string& socket_path);

  // Waits for the end of the load. The residency, or why not.
  absl::StatusOr<v1::Residency> Preload(const std::string& reference, bool no_wait = false);
  absl::StatusOr<v1::Residency> Preload(const v1::ModelSpec& spec, bool no_wait = false);
  absl::StatusOr<v1::Residency> Preload(const v1::PreloadRequest& request);
  absl::StatusOr<std::vector<v1::Residency>> List(bool include_ended = false);
  absl::StatusOr<v1::EvictResponse> Evict(const std::string& selector);
  absl::StatusOr<v1::EvictResponse> Evict(const v1::EvictRequest& request);
  absl::Status Pin(const std::string& selector);
  absl::Status Unpin(const std::string& selector);
  absl::StatusOr<std::vector<v1::Pin>> Pins();
  // Waits until the version is READY and has the name.
  absl::StatusOr<v1::SetAliasResult> SetAlias(const v1::SetAliasRequest& request);
  absl::StatusOr<std::vector<v1::Alias>> Aliases();
  absl::StatusOr<v1::Device> HostDevice() { return Device("host"); }
  absl::StatusOr<v1::Device> Device(const std::string& id);
  absl::StatusOr<v1::GetServerInfoResponse> ServerInfo();
  absl::StatusOr<std::vector<v1::Event>> Events(uint32_t history);
  // What grpc.health.v1 says.
  bool IsServing();

  v1::ResidencyService::Stub& residency() { return *residency_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ResidencyService::Stub> residency_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

// A status with its reason, as the daemon made it.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace modeld::test
