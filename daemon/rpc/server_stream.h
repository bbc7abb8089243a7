// A server-streaming call that is written to as fast as its client reads, and no faster.

#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "rpc/status.h"
#include "wire/mutex.h"

namespace modeld::rpc {

// One write is under way at a time. Producers change what Next will find and call Wake; they never
// wait for the client, and what waits for the client is bounded by what Next draws from.
//
// Lifetime: gRPC holds the stream from Start until it has done with the call, producers hold it by
// shared_ptr as long as they like; what they tell a call that is over goes nowhere.
template <class Message>
class ServerStream : public grpc::ServerWriteReactor<Message> {
 public:
  // What the service's method returns. REQUIRES: `stream` is not started yet.
  static grpc::ServerWriteReactor<Message>* Start(std::shared_ptr<ServerStream> stream) {
    ServerStream* const raw = stream.get();
    wire::MutexLock lock(raw->mutex_);
    raw->self_ = std::move(stream);
    return raw;
  }

  // Finishes the call once Next has nothing more. Only the first End counts. Thread-safe.
  void End(const absl::Status& status) {
    {
      wire::MutexLock lock(mutex_);
      // A Next that ends the call is asked once more, and must not wake itself for ever.
      if (end_) return;
      end_ = ToGrpcStatus(status);
    }
    Wake();
  }

 protected:
  // Fills in what goes next; false when there is nothing now. Called by one thread at a time,
  // without a lock, and never once the client is gone.
  virtual bool Next(Message& message) = 0;
  // The client is gone, or has had its last word. Called once, by a thread of gRPC, not before the
  // service's method has returned.
  virtual void OnOver() {}

  // There may be something for Next. Thread-safe; never waits. May call Next.
  void Wake() {
    {
      wire::MutexLock lock(mutex_);
      woken_ = true;
      if (sending_) return;
      sending_ = true;
    }
    Send();
  }

 private:
  // REQUIRES: it was this thread, or the write that just ended, that set sending_: whoever did is
  // alone here.
  void Send() {
    while (true) {
      bool gone = false;
      {
        wire::MutexLock lock(mutex_);
        woken_ = false;
        gone = gone_;
      }
      if (!gone && Next(message_)) {
        this->StartWrite(&message_);
        return;
      }
      std::optional<grpc::Status> end;
      {
        wire::MutexLock lock(mutex_);
        if (woken_) continue;
        if (!end_) {
          sending_ = false;
          return;
        }
        // sending_ stays: nothing is sent after the status.
        end = *end_;
      }
      this->Finish(*std::move(end));
      return;
    }
  }

  void Abandon() {
    {
      wire::MutexLock lock(mutex_);
      gone_ = true;
      if (!end_) end_ = grpc::Status::CANCELLED;
    }
    Over();
  }

  void Over() {
    {
      wire::MutexLock lock(mutex_);
      if (over_) return;
      over_ = true;
    }
    OnOver();
  }

  void OnWriteDone(bool ok) final {
    if (!ok) Abandon();
    Send();
  }

  void OnCancel() final {
    Abandon();
    Wake();
  }

  void OnDone() final {
    Over();
    std::shared_ptr<ServerStream> self;
    wire::MutexLock lock(mutex_);
    self = std::move(self_);
  }

  wire::Mutex mutex_;
  std::shared_ptr<ServerStream> self_ MODELD_GUARDED_BY(mutex_);
  bool sending_ MODELD_GUARDED_BY(mutex_) = false;  // somebody is in Send, or a write is under way
  bool woken_ MODELD_GUARDED_BY(mutex_) = false;    // since Send last looked
  bool gone_ MODELD_GUARDED_BY(mutex_) = false;
  bool over_ MODELD_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> end_ MODELD_GUARDED_BY(mutex_);
  Message message_;  // of whoever set sending_
};

}  // namespace modeld::rpc
