// What modeld tells one agent: a queue and a thread that writes it out.

#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "base/clock.h"
#include "supervisor/agent_messages.h"
#include "wire/framed_socket.h"
#include "wire/mutex.h"

namespace modeld::supervisor {

// Sends in order and never makes its callers wait. Thread-safe.
class AgentLink {
 public:
  // Messages are built on the writing thread: that of a load with 100,000 ranges takes a while.
  using Build = std::function<AgentMessage()>;

  // Only sends: whoever made the socket goes on receiving from it.
  explicit AgentLink(std::shared_ptr<wire::FramedSocket> socket);
  // Close().
  ~AgentLink();

  // Dropped once the connection is gone: whoever receives from it hears of that.
  void Send(Build build);

  // Waits until all is written, or the connection is gone, or the deadline.
  void Drain(base::TimePoint deadline);

  // Ends the connection, both ways, and joins. Idempotent.
  void Close();

 private:
  void Run();

  const std::shared_ptr<wire::FramedSocket> socket_;
  wire::Mutex mutex_;
  wire::CondVar changed_;
  std::deque<Build> queue_ MODELD_GUARDED_BY(mutex_);
  bool writing_ MODELD_GUARDED_BY(mutex_) = false;
  bool closed_ MODELD_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace modeld::supervisor
