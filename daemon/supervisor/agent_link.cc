#include "supervisor/agent_link.h"

#include <pthread.h>

#include <utility>

namespace modeld::supervisor {

AgentLink::AgentLink(std::shared_ptr<wire::FramedSocket> socket)
    : socket_(std::move(socket)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "agent-write");
}

AgentLink::~AgentLink() { Close(); }

void AgentLink::Send(Build build) {
  {
    wire::MutexLock lock(mutex_);
    if (closed_) return;
    queue_.push_back(std::move(build));
  }
  changed_.NotifyAll();
}

void AgentLink::Drain(base::TimePoint deadline) {
  wire::MutexLock lock(mutex_);
  while ((writing_ || !queue_.empty()) && !closed_ && changed_.WaitUntil(mutex_, deadline)) {
  }
}

void AgentLink::Close() {
  {
    wire::MutexLock lock(mutex_);
    closed_ = true;
  }
  socket_->Shutdown();
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void AgentLink::Run() {
  while (true) {
    Build build;
    {
      wire::MutexLock lock(mutex_);
      writing_ = false;
      changed_.NotifyAll();
      while (queue_.empty() && !closed_) changed_.Wait(mutex_);
      if (closed_) return;
      build = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
    }
    const AgentMessage message = build();
    build = nullptr;
    const absl::Status status = socket_->Send(message.request.SerializeAsString(), message.fds);
    if (status.ok()) continue;
    // The reader must not go on as if the agent had heard.
    socket_->Shutdown();
    std::deque<Build> dropped;
    wire::MutexLock lock(mutex_);
    closed_ = true;
    dropped.swap(queue_);
    changed_.NotifyAll();
    return;
  }
}

}  // namespace modeld::supervisor
