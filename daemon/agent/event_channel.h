// What an agent tells one modeld: a queue and a thread that writes it out.

#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <thread>

#include "agent/messages.h"
#include "wire/framed_socket.h"
#include "wire/mutex.h"

namespace modeld::agent {

// Sends in order and never makes its callers wait. A modeld that does not read until the queue is
// full loses the connection. Thread-safe.
class EventChannel {
 public:
  // Only sends: whoever made the socket goes on receiving from it.
  explicit EventChannel(std::shared_ptr<wire::FramedSocket> socket);
  // Close().
  ~EventChannel();

  // Dropped once the connection is gone.
  void Send(Outgoing event);

  // Waits until all that was sent before is written, or the connection is gone, or the deadline.
  void Flush(std::chrono::steady_clock::time_point deadline);

  // Ends the connection, both ways, and joins. Idempotent.
  void Close();

 private:
  void Run();

  const std::shared_ptr<wire::FramedSocket> socket_;
  wire::Mutex mutex_;
  wire::CondVar wake_;
  wire::CondVar idle_;
  std::deque<Outgoing> queue_ MODELD_GUARDED_BY(mutex_);
  bool writing_ MODELD_GUARDED_BY(mutex_) = false;
  bool closed_ MODELD_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace modeld::agent
