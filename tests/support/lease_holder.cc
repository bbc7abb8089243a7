#include "support/lease_holder.h"

#include <utility>

namespace modeld::test {

absl::StatusOr<std::unique_ptr<LeaseHolder>> LeaseHolder::Connect(const std::string& runtime_dir) {
  auto fd = wire::ConnectUnix(runtime_dir + "/attach.sock");
  if (!fd.ok()) return fd.status();
  wire::FramedSocket attach(*std::move(fd));
  const auto frame = attach.Receive();
  if (!frame.ok()) return frame.status();
  v1::AttachServerMessage message;
  if (!message.ParseFromString(frame->payload) || !message.has_welcome()) {
    return absl::DataLossError("no Welcome: " + message.ShortDebugString());
  }
  return std::unique_ptr<LeaseHolder>(
      new LeaseHolder(runtime_dir, std::move(attach), message.welcome().session_id()));
}

LeaseHolder::~LeaseHolder() { LetGo(); }

absl::StatusOr<v1::Granted> LeaseHolder::Acquire(const std::string& reference,
                                                 const std::string& scope) {
  v1::ModelSpec spec;
  spec.set_reference(reference);
  return Acquire(spec, scope);
}

absl::StatusOr<v1::Granted> LeaseHolder::Acquire(const v1::ModelSpec& spec,
                                                 const std::string& scope) {
  v1::AcquireRequest request;
  *request.mutable_spec() = spec;
  request.set_scope(scope);
  context_ = std::make_unique<grpc::ClientContext>();
  context_->AddMetadata("modeld-session-bin", session_);
  stream_ = rpc_.residency().Acquire(context_.get(), request);
  for (;;) {
    auto update = Next();
    if (!update.ok()) return update.status();
    if (update->has_granted()) return update->granted();
  }
}

absl::StatusOr<v1::AcquireUpdate> LeaseHolder::Next() {
  if (stream_ == nullptr) return absl::FailedPreconditionError("no stream");
  v1::AcquireUpdate update;
  if (stream_->Read(&update)) return update;
  const absl::Status status = FromGrpc(stream_->Finish());
  stream_ = nullptr;
  return status.ok() ? absl::OutOfRangeError("the stream ended") : status;
}

void LeaseHolder::LetGo() {
  if (stream_ == nullptr) return;
  context_->TryCancel();
  while (Next().ok()) {
  }
}

}  // namespace modeld::test
