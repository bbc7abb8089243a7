// Where the calls of this process to modeld are driven: one completion queue and one thread.
//
// gRPC 1.51's callback API is not used: its threads look away for 100 ms after every idle second,
// and a process aborts when its last channel goes on one of them.

#pragma once

#include <grpcpp/completion_queue.h>

namespace modeld::client {

// What comes out of the queue. Told on the queue's thread, one at a time; must not block.
class CallEvent {
 public:
  virtual ~CallEvent() = default;
  virtual void Done(bool ok) = 0;
};

// Starts the thread. False when the system has none to give, or the process is exiting. Idempotent,
// thread-safe.
bool StartCallQueue();

// For tags that are CallEvents. Never shut down: calls that are open when the process exits end
// with it. REQUIRES: StartCallQueue has returned true
grpc::CompletionQueue* CallQueue();

// To be called before an operation whose event belongs to this thread is started. gRPC does pass
// memory on to the queue's thread; said once more here, because ThreadSanitizer does not see into
// gRPC.
void PublishToCallQueue();

}  // namespace modeld::client
