#include "agent/event_channel.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <string>
#include <utility>

namespace modeld::agent {
namespace {

// An inventory of as many residencies fits; nobody else makes more events than this while modeld
// does not read.
constexpr size_t kMaxQueued = 65536;

}  // namespace

EventChannel::EventChannel(std::shared_ptr<wire::FramedSocket> socket)
    : socket_(std::move(socket)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "events");
}

EventChannel::~EventChannel() { Close(); }

void EventChannel::Send(Outgoing event) {
  bool full = false;
  {
    wire::MutexLock lock(mutex_);
    if (closed_) return;
    full = queue_.size() >= kMaxQueued;
    if (!full) queue_.push_back(std::move(event));
  }
  if (full) {
    spdlog::error("msg=\"modeld does not read what the agent says; closing the connection\"");
    socket_->Shutdown();
    return;
  }
  wake_.NotifyOne();
}

void EventChannel::Flush(std::chrono::steady_clock::time_point deadline) {
  wire::MutexLock lock(mutex_);
  while ((!queue_.empty() || writing_) && !closed_) {
    if (!idle_.WaitUntil(mutex_, deadline)) return;
  }
}

void EventChannel::Close() {
  {
    wire::MutexLock lock(mutex_);
    closed_ = true;
  }
  socket_->Shutdown();
  wake_.NotifyOne();
  idle_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void EventChannel::Run() {
  while (true) {
    Outgoing next;
    {
      wire::MutexLock lock(mutex_);
      writing_ = false;
      if (queue_.empty()) idle_.NotifyAll();
      while (queue_.empty() && !closed_) wake_.Wait(mutex_);
      if (closed_) return;
      writing_ = true;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    if (socket_->Send(next.event.SerializeAsString(), next.fds).ok()) continue;
    // The receiving side sees the end too, and says so.
    std::deque<Outgoing> dropped;
    wire::MutexLock lock(mutex_);
    closed_ = true;
    idle_.NotifyAll();
    dropped.swap(queue_);
    return;
  }
}

}  // namespace modeld::agent
