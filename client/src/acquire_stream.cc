#include "acquire_stream.h"

#include <utility>

#include "wire/error.h"

namespace modeld::client {

AcquireStream::AcquireStream(std::shared_ptr<Connection> connection,
                             const v1::AcquireRequest& request, std::shared_ptr<Observer> observer)
    : connection_(std::move(connection)), observer_(std::move(observer)) {
  context_.AddMetadata("modeld-session-bin", connection_->session_id());
  reader_ = connection_->stub().PrepareAsyncAcquire(&context_, request, CallQueue());
}

void AcquireStream::Start() {
  self_ = shared_from_this();
  const std::shared_ptr<AcquireStream> self = self_;  // they may end before this returns
  PublishToCallQueue();
  reader_->StartCall(&started_);
  reader_->Read(&update_, &read_);
}

void AcquireStream::OnStarted(bool) { Finished(); }

void AcquireStream::OnRead(bool ok) {
  if (!ok) {
    reader_->Finish(&status_, &finished_);
    return;
  }
  observer_->OnUpdate(*this, update_);
  reader_->Read(&update_, &read_);
}

void AcquireStream::OnFinished(bool) {
  observer_->OnEnd(*this, wire::StatusFromParts(status_.error_code(), status_.error_message(),
                                                status_.error_details()));
  Finished();
}

void AcquireStream::Finished() {
  if (unfinished_.fetch_sub(1) == 1) const std::shared_ptr<AcquireStream> last = std::move(self_);
}

}  // namespace modeld::client
