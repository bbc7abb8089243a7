// One Acquire call.

#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "call_queue.h"
#include "connection.h"
#include "modeld/v1/residency_service.pb.h"

namespace modeld::client {

// While it is open, the lease that it was granted is held. Keeps itself, its connection and its
// observer alive from Start until OnEnd has returned.
class AcquireStream final : public std::enable_shared_from_this<AcquireStream> {
 public:
  // Told on the call queue's thread, in order; must not block.
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnUpdate(AcquireStream& stream, const v1::AcquireUpdate& update) = 0;
    // Last, and exactly once.
    virtual void OnEnd(AcquireStream& stream, const absl::Status& status) = 0;
  };

  AcquireStream(std::shared_ptr<Connection> connection, const v1::AcquireRequest& request,
                std::shared_ptr<Observer> observer);

  // Once.
  void Start();
  // Ends the call, and so the lease; never waits. Thread-safe, also before Start.
  void Cancel() { context_.TryCancel(); }

  const std::shared_ptr<Connection>& connection() const { return connection_; }

 private:
  // One of the operations that gRPC tells the end of.
  class Event final : public CallEvent {
   public:
    Event(AcquireStream* stream, void (AcquireStream::*done)(bool))
        : stream_(stream), done_(done) {}
    void Done(bool ok) override { (stream_->*done_)(ok); }

   private:
    AcquireStream* const stream_;
    void (AcquireStream::*const done_)(bool);
  };

  void OnStarted(bool ok);
  void OnRead(bool ok);
  void OnFinished(bool ok);
  void Finished();

  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<Observer> observer_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::AcquireUpdate>> reader_;
  v1::AcquireUpdate update_;
  grpc::Status status_;
  Event started_{this, &AcquireStream::OnStarted};
  Event read_{this, &AcquireStream::OnRead};
  Event finished_{this, &AcquireStream::OnFinished};
  // The start, and the chain of reads that ends with the finish.
  std::atomic<int> unfinished_{2};
  std::shared_ptr<AcquireStream> self_;
};

}  // namespace modeld::client
