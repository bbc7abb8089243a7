#include "call_queue.h"

#include <grpcpp/alarm.h>

#include <atomic>

#include "background_threads.h"
#include "wire/mutex.h"

namespace modeld::client {
namespace {

// Wakes the thread for the last time.
class StopEvent : public CallEvent {
 public:
  void Done(bool) override {}
};

struct Queue {
  grpc::CompletionQueue queue;
  StopEvent stop;
  grpc::Alarm alarm;
  wire::Mutex mutex;
  bool running MODELD_GUARDED_BY(mutex) = false;
  std::atomic<uint64_t> published{0};
};

Queue& GetQueue() {
  static Queue& queue = *new Queue;
  return queue;
}

void Drive() {
  Queue& queue = GetQueue();
  void* tag = nullptr;
  bool ok = false;
  while (queue.queue.Next(&tag, &ok) && tag != &queue.stop) {
    queue.published.load(std::memory_order_acquire);
    static_cast<CallEvent*>(tag)->Done(ok);
  }
}

void Stop() {
  Queue& queue = GetQueue();
  queue.alarm.Set(&queue.queue, gpr_now(GPR_CLOCK_MONOTONIC), &queue.stop);
}

}  // namespace

bool StartCallQueue() {
  Queue& queue = GetQueue();
  wire::MutexLock lock(queue.mutex);
  if (!queue.running) queue.running = background::Start(Drive, Stop);
  return queue.running;
}

grpc::CompletionQueue* CallQueue() { return &GetQueue().queue; }

void PublishToCallQueue() { GetQueue().published.fetch_add(1, std::memory_order_release); }

}  // namespace modeld::client
