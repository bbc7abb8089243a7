// A worker in one object: an attach session, and a lease on its Acquire stream.

#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "modeld/v1/attach.pb.h"
#include "support/rpc_client.h"
#include "wire/framed_socket.h"

namespace modeld::test {

// Externally synchronised. Keeps its lease until it dies or lets go.
class LeaseHolder {
 public:
  // Introduces itself on attach.sock of that runtime directory.
  static absl::StatusOr<std::unique_ptr<LeaseHolder>> Connect(const std::string& runtime_dir);
  // LetGo().
  ~LeaseHolder();

  // Waits until the lease is granted, or the stream ends. REQUIRES: no lease is held
  absl::StatusOr<v1::Granted> Acquire(const std::string& reference, const std::string& scope = {});
  absl::StatusOr<v1::Granted> Acquire(const v1::ModelSpec& spec, const std::string& scope = {});
  // The next message of the stream; the status it ended with once it has.
  absl::StatusOr<v1::AcquireUpdate> Next();
  void LetGo();

  // The session id that goes with each call.
  const std::string& session() const { return session_; }
  wire::FramedSocket& attach() { return attach_; }
  RpcClient& rpc() { return rpc_; }

 private:
  LeaseHolder(const std::string& runtime_dir, wire::FramedSocket attach, std::string session)
      : attach_(std::move(attach)),
        session_(std::move(session)),
        rpc_(runtime_dir + "/modeld.sock") {}

  wire::FramedSocket attach_;
  const std::string session_;
  RpcClient rpc_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::AcquireUpdate>> stream_;
};

}  // namespace modeld::test
