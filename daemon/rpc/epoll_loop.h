// One thread that waits for many descriptors.

#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/executor.h"
#include "wire/mutex.h"
#include "wire/unique_fd.h"

namespace modeld::rpc {

// Tasks and handlers run on the loop's own thread, one at a time; what only they touch needs no
// lock.
class EpollLoop : public base::Executor {
 public:
  // `events` as epoll_wait says them. The handler is looked up by key, so an event for one that was
  // removed meanwhile is dropped, also when its descriptor number has been taken again.
  using Handler = std::function<void(uint32_t events)>;

  // RESOURCE_EXHAUSTED when descriptors are short. `name` (at most 15 bytes) is what the thread is
  // called.
  static absl::StatusOr<std::shared_ptr<EpollLoop>> Start(const char* name);
  ~EpollLoop() override;

  // Thread-safe. Dropped after Stop.
  void Post(base::Task task) override;
  bool InLoopThread() const { return std::this_thread::get_id() == loop_thread_id_; }

  // Ends the thread after what it is doing now; tasks that have not begun are dropped. Idempotent.
  // Not from the loop's thread.
  void Stop();

  // From the loop's thread. `key` is the caller's and names the watch. RESOURCE_EXHAUSTED when the
  // kernel has no room for one more.
  absl::Status Watch(uint64_t key, int fd, uint32_t events, Handler handler);
  void Change(uint64_t key, int fd, uint32_t events);
  // Before the descriptor is closed.
  void Remove(uint64_t key, int fd);

 private:
  EpollLoop(wire::UniqueFd epoll, wire::UniqueFd wake)
      : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

  void Run();
  void RunTasks();

  const wire::UniqueFd epoll_;
  const wire::UniqueFd wake_;  // eventfd, watched under key 0
  wire::Mutex mutex_;
  std::vector<base::Task> tasks_ MODELD_GUARDED_BY(mutex_);
  bool stopping_ MODELD_GUARDED_BY(mutex_) = false;
  std::unordered_map<uint64_t, std::shared_ptr<const Handler>> handlers_;  // loop thread
  std::thread thread_;
  std::thread::id loop_thread_id_;  // constant after Start
};

}  // namespace modeld::rpc
